"""Options from a file, and a run repeated from the file that it left."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.core.errors import ConfigError
from pipelines.options import command_line, config_file
from tests.support import trainings
from tests.support.datasets import write_dataset
from trainer import run_dir
from trainer.cli.main import main
from trainer.config import TrainConfig
from trainer.models import build


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_values_mean_what_they_mean_on_the_command_line(tmp_path):
    # In YAML's own reading off and no are false, 1e-3 is a text, 1:30 is 90 and 010 is 8.
    text = (
        "data: no\noutput: 1:30\nlearning-rate: 1e-3\nverify: off\nepochs: 010\nflip: off\n"
        "init_weights:\nvalidation: 'none' # kept\n"
    )
    assert config_file.read(written(tmp_path / "c.yaml", text), TrainConfig) == {
        "data": "no", "output": "1:30", "learning_rate": 0.001, "verify": "off", "epochs": 10, "flip": False,
        "init_weights": "", "validation": "none",
    }  # fmt: skip
    assert config_file.read(written(tmp_path / "empty.yaml", "# nothing\n"), TrainConfig) == {}


@settings(max_examples=15)
@example("\x85", 1e-3, True, 0)
@example("a\x85b\u2028 \u2029é\n", 1e-3, True, 0)
@given(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.floats(1e-300, 100, exclude_min=True),
    st.booleans(),
    st.integers(0, 2**31 - 1),
)
def test_what_is_written_is_read_back(tmp_path_factory, name, rate, flip, seed):
    config = TrainConfig(name, "off", learning_rate=rate, flip=flip, seed=seed, verify="off", checkpoint_minutes=0.5)
    path = tmp_path_factory.mktemp("c") / "config.yaml"
    path.write_text(config_file.text(config, "a run"), encoding="utf-8", newline="")
    again = TrainConfig(**config_file.read(path, TrainConfig))
    assert dataclasses.asdict(again) == dataclasses.asdict(config)


def test_resuming_is_not_an_option_of_the_repetition():
    text = config_file.text(TrainConfig("d", "o", resume=True), run_dir.HEADER, run_dir.NOT_SAVED)
    assert "resume" not in text
    assert text.splitlines()[:2] == [f"# {run_dir.HEADER}", "data: d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", "has an unknown option 'epoch': did you mean 'epochs'?"),
        ("learning-rat: 3\n", "has an unknown option 'learning-rat': did you mean 'learning_rate'?"),
        ("zzzz: 3\n", "has an unknown option 'zzzz': there are data, output, model,"),
        ("epochs: 3\nepochs: 4\n", "has the option 'epochs' twice"),
        ("batch-size: 3\nbatch_size: 3\n", "has the option 'batch_size' twice"),
        ("epochs: many\n", "epochs should be a whole number. Received: 'many'."),
        ("epochs:\n", "epochs should be a whole number. Received: ''."),
        ("learning_rate: fast\n", "learning_rate should be a number. Received: 'fast'."),
        ("flip: 1\n", "flip should be true or false. Received: '1'."),
        ("epochs: [1, 2]\n", "line 1: an option should have one plain value."),
        ("model: {a: b}\n", "line 1: an option should have one plain value."),
        ("- epochs\n", "should hold a line `option: value` for each option."),
        ("epochs\n", "should hold a line `option: value` for each option."),
        ("a: b: c\n", "is not YAML: mapping values are not allowed here"),
        ("a: !!python/object/apply:os.system [x]\n", "an option should have one plain value."),
        ("#" * (1 << 20) + "#", "is larger than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        config_file.read(written(tmp_path / "c.yaml", text), TrainConfig)
    assert message in str(error.value)
    assert "c.yaml" in str(error.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory\."):
        config_file.read(tmp_path / "no.yaml", TrainConfig)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot be read: it is not UTF-8 text\."):
        config_file.read(tmp_path / "b.yaml", TrainConfig)


def test_flags_go_before_the_file_and_the_file_before_defaults(tmp_path):
    file = written(tmp_path / "c.yaml", "data: d\noutput: o\nepochs: 3\nseed: 4\n")
    config = command_line.merged(TrainConfig, {"config": file, "epochs": 5, "flip": False})
    assert config == TrainConfig("d", "o", epochs=5, seed=4, flip=False)


def test_what_neither_flags_nor_file_give(tmp_path, capsys):
    file = written(tmp_path / "c.yaml", "epochs: 3\n")
    assert main(["train", "--config", file, "--data", "d"]) == 2
    assert "required: --output." in capsys.readouterr().err


@pytest.mark.slow
def test_the_saved_config_repeats_the_run(tmp_path):
    write_dataset(tmp_path / "data", encoding="uint8")
    first, second = tmp_path / "first", tmp_path / "second"
    argv = ["train", "--data", str(tmp_path / "data"), "--batch-size", "8", "--seed", "3", "--no-flip"]
    with trainings.without_reports(export=False):
        assert main([*argv, "--output", str(first), "--epochs", "1"]) == 0
        assert main(["train", "--config", str(first / "config.yaml"), "--output", str(second)]) == 0
    for one, other in zip(*(build.load(f / "model.keras").get_weights() for f in (first, second)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    assert (first / "versions.json").read_bytes() == (second / "versions.json").read_bytes()
