"""The parts that look at a program before it runs: old names, notebooks, the copy of the folder."""

import contextlib
import errno
import importlib
import json
import os
import pathlib

import pytest

from trainer.config import TrainerError
from trainer.doctor.config import DoctorConfig
from trainer.doctor.program import folder_copy, launch, notebook, old_keras
from trainer.doctor.watching.places import Places


def old(code):
    places = Places({}, "/")
    return [(one.place.line, one.name) for one in old_keras.find("import keras\n" + code, "train.py", places)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from keras.utils import np_utils", "keras.utils.np_utils"),
        (
            "from tensorflow.keras.utils.np_utils import to_categorical",
            "tensorflow.keras.utils.np_utils.to_categorical",
        ),
        ("from keras.layers.core import Dense", "keras.layers.core.Dense"),
        ("import keras.layers.core", "keras.layers.core"),
        ("from keras.preprocessing.image import ImageDataGenerator", "keras.preprocessing.image.ImageDataGenerator"),
        ("from keras.layers import CuDNNLSTM", "CuDNNLSTM"),
        ("opt = keras.optimizers.Adam(lr=1e-3)", "Adam(lr=...)"),
        ("opt = SGD(0.1, decay=1e-6)", "SGD(decay=...)"),
        ("model.fit(x, y, nb_epoch=3)", "fit(nb_epoch=...)"),
        ("model.fit_generator(batches)", "fit_generator()"),
        ("model.predict_classes(x)", "predict_classes()"),
    ],
)
def test_old_names_are_found_with_their_line(line, name):
    assert (2, name) in old(line)


@pytest.mark.parametrize(
    "line",
    [
        "from keras.preprocessing.image import load_img",
        "from keras.preprocessing import image; image.load_img('a')",
        "from tensorflow.keras.preprocessing.image import ImageDataGenerator",
        "from tensorflow.keras.preprocessing.sequence import pad_sequences",
        "from keras.utils import to_categorical",
        "from keras.layers import Dense; Dense(3, input_dim=4)",
        "from keras.layers import Convolution2D; Convolution2D(3, 3)",
        "config = dict(lr=1e-3)",
        "classifier.predict_proba",
        "opt = keras.optimizers.Adam(learning_rate=1e-3)",
        "this is no Python",
    ],
)
def test_names_of_today_are_left_alone(line):
    assert old(line) == []


def test_an_old_name_behind_a_module_that_is_still_there():
    names = [name for _, name in old("from keras.preprocessing import image\nimage.ImageDataGenerator()")]
    assert names == ["keras.preprocessing.image.ImageDataGenerator"]


@pytest.mark.parametrize("module", old_keras.MODULES)
def test_the_modules_that_are_called_gone_are_gone(module):
    parent, _, name = module.rpartition(".")
    with pytest.raises(ImportError):
        importlib.import_module(module)
    with contextlib.suppress(ImportError):  # the parent may be gone as well
        assert not hasattr(importlib.import_module(parent), name)


def cells(*sources):
    return json.dumps({"cells": [{"cell_type": "code", "source": source} for source in sources]})


def test_a_notebook_becomes_a_script_without_magics():
    text = cells(
        ["%matplotlib inline\n", "import numpy as np\n"],
        "!pip install keras\nfiles = !ls\nx = 5 % 3\n",
        "%%time\nfor i in range(2):\n    %timeit i\n",
        "%%bash\nrm -rf /\n",
        "model.fit?\n",
    )
    code, dropped = notebook.to_script(text, "a.ipynb")
    variables = {}
    exec(code, variables)
    assert variables["x"] == 2
    assert variables["files"] == []
    assert variables["i"] == 1
    assert "rm" not in code
    assert dropped == (
        "cell 1: %matplotlib inline",
        "cell 2: !pip install keras",
        "cell 2: files = !ls",
        "cell 3: %timeit i",
        "cell 4: %%bash",
        "cell 5: model.fit?",
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cells": 3}'])
def test_what_is_no_notebook(text):
    with pytest.raises(TrainerError, match="is no notebook that can be read"):
        notebook.to_script(text, "a.ipynb")


def test_a_copy_has_files_of_its_own_and_links_to_photographs(tmp_path):
    own = tmp_path / "home" / "project"
    for name in ("train.py", "data/1.jpg", ".git/config", "venv/pyvenv.cfg"):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(name)
    (tmp_path / "home" / "photos").mkdir()
    os.symlink("gone", own / "broken")
    copy = pathlib.Path(folder_copy.mirrored(str(own), str(tmp_path / "root")))
    assert not (copy / "train.py").is_symlink()
    assert (copy / "data" / "1.jpg").is_symlink()
    assert not (copy / "data").is_symlink()
    assert (copy / "venv").is_symlink()
    assert not (copy / ".git").exists()
    assert not (copy / "broken").exists()
    assert (copy / ".." / "photos").is_dir()
    (copy / "train.py").write_text("changed")
    assert (own / "train.py").read_text() == "train.py"


def test_a_folder_of_too_many_files_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_copy, "MOST_FILES", 1)
    for name in "ab":
        (tmp_path / name).write_text("")
    with pytest.raises(TrainerError, match="give --full, which runs the program where it is"):
        folder_copy.copy(str(tmp_path), str(tmp_path / "copy"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_copy_without_room_names_the_folder_and_not_the_users_file(tmp_path, monkeypatch, number):
    (tmp_path / "program.py").touch()

    def full(*_):
        raise OSError(number, os.strerror(number), "photo.jpg")

    monkeypatch.setattr(folder_copy, "mirrored", full)
    with pytest.raises(TrainerError, match=r"has no room in .*TMPDIR, or .*--full\."):
        launch.examine(DoctorConfig(program=(str(tmp_path / "program.py"),)))


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--full", "--lr", "0.1"), "", ["--full was"]),
        (("--prove", "--html=a.html"), "", ["--prove, --html were"]),
        (("--data", "photos", "--epochs", "3"), 'parser.add_argument("--data")', []),
        (("full", "-f"), "", []),
    ],
)
def test_options_of_the_doctor_behind_the_program(tmp_path, monkeypatch, arguments, code, expected):
    (tmp_path / "train.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "_run", lambda given: (given.notes, ""))
    notes, _ = launch.examine(DoctorConfig(program=("train.py", *arguments)))
    assert notes[1:] == tuple(
        f"{one} handed to the program, as all that stands behind its name: options for the doctor stand before it."
        for one in expected
    )
