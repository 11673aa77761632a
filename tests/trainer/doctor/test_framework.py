import dataclasses
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.core.errors import ConfigError
from pipelines.images import file_reader
from pipelines.images.limits import Limits
from tests.support.datasets import write_dataset
from tests.support.doctor import batches, cnn
from tests.support.files import images as fx
from tests.support.files.images import draw_photo
from trainer import run_dir
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.doctor import run_probes
from trainer.doctor.clock import Clock, OutOfTime
from trainer.doctor.config import DoctorConfig
from trainer.doctor.finding import BARS, LINES, MATRIX, PICTURES, Chart, Finding, NotApplicable, ranked
from trainer.doctor.output import page
from trainer.doctor.output import text as report
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import exceptions, folder, history, load, sample
from trainer.doctor.subject.subject import DEEPER, Subject


def finding(id_="fault", level="error", impact=0.5, **changes):
    texts = {"what": "What", "evidence": "Evidence", "cost": "Cost", "fix": "Fix"}
    return Finding(id=id_, level=level, impact=impact, **(texts | changes))


def noise(count, shape=(8, 8, 3)):
    return np.random.default_rng(0).random((count, *shape), np.float32), np.arange(count) % 2


# ---- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Give something to look at"),
        ({"dataset": "folder"}, "--dataset should be module:name. Received: 'folder'"),
        ({"data": "x", "json": "/no/such/folder/a.json"}, "--json should be a file in a folder that is there"),
        ({"data": "x", "html": "-"}, "--html should be a file"),
    ],
)
def test_options_that_make_no_sense(options, words):
    with pytest.raises(ConfigError) as error:
        DoctorConfig(**options)
    assert words in str(error.value)


# ---- findings and reports


def test_errors_come_first_and_then_what_costs_most():
    mixed = [
        finding("c", "warning", 0.9),
        finding("b", "error", 0.1),
        finding("a", "error", 0.1),
        finding("d", "info"),
        finding("e", "error", 0.2),
    ]
    assert [f.id for f in ranked(mixed)] == ["e", "a", "b", "c", "d"]


def test_a_finding_of_an_unknown_level():
    with pytest.raises(ValueError, match="level should be one of error, warning, info"):
        finding(level="bad")


def run(*probes, subject=None):
    return run_probes.run(subject or Subject(), probes)


def test_a_healthy_report_lists_what_was_checked_and_nothing_else():
    told = run(Probe("one thing", lambda s, c: []), Probe("another", lambda s, c: []))
    assert told.text() == "Healthy: 2 checks, nothing found.\n\nChecked:\n   - one thing\n   - another"
    assert not told.failed
    assert told.to_dict() | {"seconds": 0} == {
        "verdict": "Healthy: 2 checks, nothing found.", "healthy": True, "findings": [], "about": [], "seconds": 0,
        "checked": ["one thing", "another"], "not_checked": [], "could_not_tell": [], "scores": [],
    }  # fmt: skip


def test_a_report_with_remarks_only_is_healthy():
    remark = Probe("another", lambda s, c: [finding(level="info")])
    told = run(Probe("one thing", lambda s, c: []), remark)
    assert told.verdict == "Healthy: 1 check, nothing found, and 1 remark."
    assert told.to_dict()["healthy"]
    warned = run(remark, Probe("a third", lambda s, c: [finding("other", level="warning")]))
    assert warned.verdict == "Found 1 warning, 1 remark."
    assert not warned.to_dict()["healthy"]


def test_a_report_with_findings():
    told = run(
        Probe("sound", lambda s, c: []),
        Probe("broken", lambda s, c: [finding(evidence="7 of 9"), finding("slow", "warning")]),
    )
    assert told.failed
    assert told.text().splitlines()[0] == "Found 1 error, 1 warning."
    assert "1. ERROR What  [fault]" in told.text()
    assert "   evidence: 7 of 9\n   cost:     Cost\n   fix:      Fix" in told.text()
    assert "Checked, nothing found:\n   - sound" in told.text()
    assert not run(Probe("p", lambda s, c: [finding(level="warning")])).failed


def test_a_probe_that_crashes_cannot_tell_or_has_no_time_left_is_told_as_not_checked():
    def crash(subject, clock):
        raise ZeroDivisionError("odd input")

    def cannot(subject, clock):
        raise NotApplicable("all images are alike")

    def slow(subject, clock):
        while True:
            clock.check()

    told = run(
        Probe("a", crash), Probe("b", cannot), Probe("c", slow, seconds=0.0), Probe("d", lambda s, c: [], ("model",))
    )
    assert told.findings == told.checked == ()
    assert told.not_checked == (
        ("a", "the check failed on this input (ZeroDivisionError: odd input)"),
        ("b", "all images are alike"),
        ("c", "not done within 0 s; --deep allows more time"),
        ("d", "needs --model"),
    )
    assert told.verdict == "Could not tell: nothing could be checked."
    assert told.uncertain


def crash_of(error):
    def look(subject, clock):
        raise error

    return look


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), OutOfTime("not done within 0 s")])
def test_nothing_is_called_healthy_where_a_check_that_matters_did_not_end(error):
    sound = Probe("sound", lambda s, c: [])
    told = run(sound, Probe("a", crash_of(error), matters=True))
    assert told.verdict.startswith("Could not tell: a could not be checked (")
    assert told.uncertain
    assert not told.to_dict()["healthy"]
    assert run(sound, Probe("a", crash_of(error))).verdict == "Healthy: 1 check, nothing found."
    unsuited = Probe("a", crash_of(NotApplicable("no loss")), matters=True)
    assert run(sound, unsuited).verdict == "Healthy: 1 check, nothing found."
    broken = Probe("b", lambda s, c: [finding()])
    assert not run(broken, Probe("a", crash_of(error), matters=True)).uncertain  # an error is a verdict


def test_a_cause_comes_first_and_what_follows_from_it_says_so():
    given = [finding("symptom", impact=1.0), finding("cause", "warning", explains=("symptom",)), finding("other")]
    told = report.build(given, checked=(), not_checked=())
    assert [(f.id, f.follows) for f in told.findings] == [("cause", ""), ("other", ""), ("symptom", "cause")]
    assert "This follows from [cause]." in told.text()


def test_when_the_time_for_all_is_over_the_rest_is_told(monkeypatch):
    monkeypatch.setattr(run_probes, "TOTAL_SECONDS", 0.0)
    told = run(Probe("late", lambda s, c: []))
    assert told.not_checked == (("late", "the 0 s for all checks had passed; --deep allows more time"),)


def test_deep_gives_more_time():
    seen = []
    probe = Probe("p", lambda s, c: seen.append(c.seconds) or [], seconds=2.0)
    run(probe)
    run(probe, subject=Subject(deep=True))
    assert seen == [2.0, 2.0 * DEEPER]


def test_the_page_escapes_what_comes_from_outside_and_loads_nothing(tmp_path):
    bad = "<script>alert(1)</script>\u202e$\\frac{"
    charts = (
        Chart(bad, BARS, {bad: [1, 2]}, [bad, "b"]),
        Chart("lines", LINES, {"a": [1.0, 2.0], bad: [2.0]}),
        Chart("matrix", MATRIX, {bad: [1, 2], "b": [3, 4]}, ["x", bad]),
        Chart("pictures", PICTURES, {bad: np.zeros((4, 4, 3)), "b": np.zeros((3, 4, 9)), "c": np.ones((4, 4))}),
    )
    subject = load.subject_of(dataset=batches(*noise(8)), past={"loss": (1.0, 0.5)})
    told = report.build([finding(what=bad, evidence=bad, charts=charts)], checked=(bad,), not_checked=((bad, bad),))
    html = page.render(subject, told)
    assert "<script" not in html
    assert "\u202e" not in html
    assert "&lt;script&gt;" in html
    assert "default-src 'none'" in html
    assert html.count("data:image/png;base64,") == len(charts) + 4  # values, classes, images, loss
    assert "http://" not in html
    assert "https://" not in html


@pytest.mark.parametrize(
    ("inputs", "charts"),
    [
        (np.random.default_rng(0).random((64, 9), np.float32), 3),  # values and classes, and loss
        (np.random.default_rng(0).random((64, 40, 3), np.float32), 3),
        (np.random.default_rng(0).integers(0, 9, (64, 12)), 3),
        (np.array([f"text {i}" for i in range(64)], object), 1),  # only the loss: texts are not sampled
        (np.random.default_rng(0).random((64, 4, 8, 8, 3), np.float32), 3),  # films
        (np.random.default_rng(0).random((64, 8, 8, 3), np.float32), 4),
        (np.random.default_rng(0).random((64, 8, 8), np.float32), 4),
    ],
    ids=["table", "series", "words", "texts", "films", "colors", "gray"],
)
def test_the_page_of_data_that_are_no_pictures(inputs, charts):
    dataset = tf.data.Dataset.from_tensor_slices((inputs, np.arange(64) % 2)).batch(8)
    subject = load.subject_of(dataset=dataset, past={"loss": (1.0, 0.5)})
    shown = (Chart("pictures", PICTURES, {"first": inputs[0]}),)
    told = report.build([finding(what="what", charts=shown)], checked=("c",), not_checked=())
    drawn = page.render(subject, told).count("data:image/png;base64,")
    assert drawn == charts + (np.ndim(inputs[0]) in (2, 3) and inputs.dtype.kind == "f")


# ---- samples


def test_a_sample_keeps_batches_up_to_its_bounds_and_all_labels():
    images, labels = noise(100)
    whole = sample.draw(batches(images, labels, 10, shuffle=False), Clock(60))
    assert whole.complete
    assert (whole.images == images).all()
    assert (whole.ids == labels).all()
    part = sample.draw(batches(images, labels, 10, shuffle=False), Clock(60), max_images=30)
    assert not part.complete
    assert (part.images == images[:30]).all()
    assert (part.labels_seen == labels).all()
    small = sample.draw(batches(images, labels, 10, shuffle=False), Clock(60), max_bytes=images[:25].nbytes)
    assert len(small) == 20
    assert len(sample.draw(batches(images, labels, 10), Clock(0))) == 10  # never less than a batch


@pytest.mark.parametrize(
    "labels", [np.array([2, 0, 1]), np.array([[2], [0], [1]]), np.eye(3)[[2, 0, 1]], np.array([2.0, 0.0, 1.0])]
)
def test_labels_of_any_form_become_ids(labels):
    assert sample.class_ids(labels).tolist() == [2, 0, 1]


def test_labels_that_are_no_numbers_are_outside_every_head():
    assert sample.class_ids(np.array([0.0, np.nan, np.inf])).tolist() == [0, -1, -1]


# ---- folders


def test_sizes_are_those_of_the_upright_photos_and_what_is_no_image_has_none(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_photo(tmp_path / "turned.jpg", 1, (60, 40), exif=exif)
    draw_photo(tmp_path / "upright.png", 2, (30, 20))
    Image.new("RGB", (8, 8)).save(tmp_path / "drawing.jpg", "EPS")  # Pillow would give it to Ghostscript
    monkeypatch.chdir(tmp_path)
    found = folder.sizes_of(["drawing.jpg", "turned.jpg", "gone.jpg", "upright.png"], Clock(60))
    assert list(found) == [(40, 60), (30, 20)]


def test_a_folder_is_scanned_by_turns_of_its_classes(tmp_path):
    for label, count in {"b": 9, "a": 2}.items():
        for i in range(count):
            draw_photo(tmp_path / label / f"{i}.jpg", i, (60, 40))
    draw_photo(tmp_path / "a/.hidden.jpg", 1, (9, 9))
    draw_photo(tmp_path / "loose.jpg", 1, (9, 9))
    (tmp_path / "a/broken.png").write_bytes(b"no image")
    found = folder.scan(str(tmp_path), Clock(60), max_photos=5)
    assert found.labels == ("a", "b")
    assert found.counts == {"": {"a": 3, "b": 9}}
    assert [p.label for p in found.photos].count("a") == 2
    assert len(found.photos) == 5
    assert found.photos[0].size == (60, 40)
    assert found.photos[0].small.shape == (folder.SIDE, folder.SIDE, 3)
    assert [path for path, _ in found.unreadable] == ["a/broken.png"]


@pytest.mark.slow
def test_a_photo_that_hangs_or_crashes_its_decoder_is_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(file_reader, "PICTURES", "tests.support.files.faulty_files")
    monkeypatch.setattr(folder, "LIMITS", Limits(image_timeout=1.0))
    for name in ("hangs.jpg", "crashes.jpg", "good.jpg"):
        draw_photo(tmp_path / "a" / name, 1, (60, 40))
    (tmp_path / "a" / "comment.gif").write_bytes(fx.gif(1, 1, fx.gif_comment(20 << 20), fx.gif_frame(1, 1)))
    found = folder.scan(str(tmp_path), Clock(60), max_photos=9)
    assert [p.path for p in found.photos] == ["a/comment.gif", "a/good.jpg"]
    told = sorted((path, why.split(":")[0]) for path, why in found.unreadable)
    assert told == [("a/crashes.jpg", "crashed"), ("a/hangs.jpg", "timeout")]


def test_split_folders_become_train_and_validation(tmp_path):
    for split, count in {"Train": 4, "val": 2}.items():
        for label in "ab":
            for i in range(count):
                draw_photo(tmp_path / split / label / f"{i}.jpg", i, (20, 20))
    subject = load.subject_of(str(tmp_path))
    assert len(subject.train.sample) == 8
    assert subject.validation.counts == {"a": 2, "b": 2}
    assert subject.labels == ("a", "b")


def test_a_folder_without_images_and_no_folder(tmp_path):
    with pytest.raises(TrainerError, match=r"neither images in folders nor a contract\.json"):
        load.subject_of(str(tmp_path))
    with pytest.raises(TrainerError, match="There is no folder"):
        load.subject_of(str(tmp_path / "none"))


# ---- histories


@pytest.mark.parametrize(
    "text",
    [
        "epoch,loss,val_loss,note\n0,2.5,3,a\n1,1.5,2,b\n",
        '{"loss": [2.5, 1.5], "val_loss": [3, 2]}',
        '{"history": {"loss": [2.5, 1.5], "val_loss": [3, 2]}, "params": {"epochs": 2}}',
        '[{"loss": 2.5, "val_loss": 3}, {"loss": 1.5, "val_loss": 2}]',
    ],
)
def test_every_form_of_a_history(tmp_path, text):
    (tmp_path / "h").write_text(text)
    assert history.read(str(tmp_path / "h")) == {"loss": (2.5, 1.5), "val_loss": (3.0, 2.0)}


@pytest.mark.parametrize("text", ["", "a picture", "{", '{"a": "b"}', "[1, 2]"])
def test_what_is_no_history(tmp_path, text):
    (tmp_path / "h").write_text(text)
    with pytest.raises(TrainerError, match=r"Give metrics\.csv"):
        history.read(str(tmp_path / "h"))


# ---- the user's code that raises


def sizes_differ():
    def photos():
        yield np.zeros((4, 5, 3), np.float32), 0
        yield np.zeros((6, 5, 3), np.float32), 1

    spec = tf.TensorSpec((None, None, 3)), tf.TensorSpec((), tf.int32)
    return tf.data.Dataset.from_generator(photos, output_signature=spec).batch(2)


def missing_file():
    return tf.data.Dataset.from_tensor_slices(["none.jpg"]).map(lambda f: (tf.io.read_file(f), 0)).batch(1)


def undecodable():
    data = tf.data.Dataset.from_tensor_slices([b"no image"])
    return data.map(lambda b: (tf.io.decode_image(b, channels=3), 0)).batch(1)


def mistake():
    return {}["train"]


@pytest.mark.parametrize(
    ("function", "id_", "evidence"),
    [
        (sizes_differ, "sizes-differ", "First element had shape [4,5,3] and element 1 had shape [6,5,3]"),
        (lambda: np.stack([np.zeros((2, 3)), np.zeros((3, 3))]), "sizes-differ", "same shape"),
        (missing_file, "file-missing", "none.jpg"),
        (undecodable, "image-undecodable", "Unknown image file format"),
        (mistake, "program-raises", "KeyError: 'train' (at tests/trainer/doctor/test_framework.py, line"),
        (lambda: tf.data.Dataset.range(4).batch(2), "dataset-form", "a EagerTensor of shape (2,)"),
        (lambda: batches(*noise(4)).unbatch(), "dataset-unbatched", "shape (8, 8, 3) and a label of shape ()"),
        (lambda: batches(*noise(4)).take(0), "dataset-empty", "before its first image"),
    ],
)
def test_a_dataset_that_raises_is_a_finding(function, id_, evidence, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    subject = load.subject_of(dataset=function)
    assert [f.id for f in subject.problems] == [id_]
    assert subject.problems[0].level == "error"
    assert evidence in subject.problems[0].evidence
    assert subject.train is None


@pytest.mark.parametrize(
    ("function", "id_"),
    [
        (lambda: keras.Sequential([keras.Input((None, None, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]),
         "size-undefined"),
        (lambda: keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 7)]), "image-too-small"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_built_is_a_finding(function, id_):
    assert [f.id for f in load.subject_of(model=function).problems] == [id_]


def test_the_place_in_the_users_code_is_named():
    try:
        mistake()
    except KeyError as e:
        told = exceptions.explain(e, "calling it")
    assert told.evidence.startswith("While calling it: KeyError: 'train' (at ")
    assert 'return {}["train"]' in told.evidence


def test_functions_that_give_something_else():
    with pytest.raises(TrainerError, match=r"does not give data .* Received: str"):
        load.subject_of(dataset=lambda: ("a", "b"))
    with pytest.raises(TrainerError, match=r"should return a keras\.Model\. It returned a str"):
        load.subject_of(model=lambda: "cnn")


# ---- what the options name


def test_a_prepared_dataset_with_the_name_of_a_network(tmp_path):
    contract = write_dataset(tmp_path / "data")
    subject = load.subject_of(str(tmp_path / "data"), model="cnn")
    assert subject.contract == contract
    assert subject.origin == "prepared"
    assert len(subject.train.sample) == 32
    assert len(subject.validation.sample) == 12
    assert subject.train.counts == {"ok": 24, "broken": 8}
    assert subject.has("loss")
    assert subject.outputs.shape == (12, 2)


def test_a_function_that_takes_the_contract(tmp_path):
    write_dataset(tmp_path / "data")
    subject = load.subject_of(str(tmp_path / "data"), model=lambda contract: cnn(len(contract.labels), shape=(8, 8, 3)))
    assert subject.model.output_shape == (None, 2)
    with pytest.raises(TrainerError, match="give a prepared --data, whose contract it gets"):
        load.subject_of(model=lambda contract: None)


def test_a_run_brings_its_data_history_and_loss(tmp_path):
    contract = write_dataset(tmp_path / "data")
    config = TrainConfig(data=str(tmp_path / "data"), output=str(tmp_path / "run"))
    run = run_dir.begin(config.output, config, contract, {})
    cnn(2, shape=(8, 8, 3)).save(run.model)
    run.history.write_text("epoch,loss\n1,0.5\n")
    run.metrics.write_text('{"epochs": {"asked": 3, "kept": 1, "run": 3}}')
    subject = load.subject_of(model=str(tmp_path / "run"))
    assert subject.kept == 1
    assert subject.few_images == "16 train images for each class on average"
    assert subject.trained.labels == ("ok", "broken")
    assert subject.directory == str(tmp_path / "data")
    assert subject.history == {"loss": (0.5,)}
    assert subject.has("loss")


# ---- the command

PROGRAM = """
import keras, numpy as np, tensorflow as tf
def data():
    x = np.random.default_rng(0).random((40, 16, 16, 3), np.float32)
    return tf.data.Dataset.from_tensor_slices((x, np.arange(40) % 2)).shuffle(40).batch(8)
def broken():
    def photos():
        yield np.zeros((4, 5, 3), np.float32), 0
        yield np.zeros((6, 5, 3), np.float32), 1
    spec = tf.TensorSpec((None, None, 3)), tf.TensorSpec((), tf.int32)
    return tf.data.Dataset.from_generator(photos, output_signature=spec).batch(2)
def model():
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
"""


def test_a_program_that_raises_is_explained_with_status_1(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_broken.py").write_text(textwrap.dedent(PROGRAM))
    monkeypatch.chdir(tmp_path)
    status = main(
        ["doctor", "--dataset", "mine_broken:broken", "--model", "mine_broken:model", "--json", "a.json", "--html",
         "a.html"]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert status == 1
    assert out.startswith("Found 2 errors.")
    assert "[sizes-differ]" in out
    assert "[size-undefined]" in out
    content = json.loads((tmp_path / "a.json").read_text())
    assert [f["id"] for f in content["findings"]] == ["size-undefined", "sizes-differ"]
    assert "size-undefined" in (tmp_path / "a.html").read_text()


def test_json_on_standard_output_is_nothing_else(tmp_path, monkeypatch, capsys):
    draw_photo(tmp_path / "a/1.jpg", 1, (20, 20))
    draw_photo(tmp_path / "b/1.jpg", 2, (20, 20))
    main(["doctor", "--data", str(tmp_path), "--json", "-"])
    assert set(json.loads(capsys.readouterr().out)) >= {"verdict", "findings", "checked", "not_checked"}


def test_names_that_lead_nowhere_are_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_empty.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    for name, words in {
        "no_such_module:f": "there is no module 'no_such_module'",
        "mine_empty:f": "module 'mine_empty' has no 'f'",
        "mine_empty:x": "Received: int",
    }.items():
        assert main(["doctor", "--dataset", name]) == 1
        assert words in capsys.readouterr().err


def test_help_needs_no_tensorflow():
    code = "import sys, trainer.__main__ as m\ntry: m.main(['doctor', '--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--history FILE" in done.stdout


def test_a_finding_is_plain_data():
    made = finding(charts=(Chart("c", BARS, {"a": [1]}),))
    assert json.loads(json.dumps(made.to_dict()))["id"] == "fault"
    assert "charts" not in made.to_dict()
    assert dataclasses.replace(made, level="info").level == "info"
