import subprocess
import sys
import time

import pytest

from pipelines.core.errors import ConfigError
from tests.support.datasets import write_dataset
from trainer.cli.main import main
from trainer.config import TrainConfig


def test_what_changes_nothing_in_the_result_does_not_make_configs_differ():
    config = TrainConfig(data="d", output="o")
    same = TrainConfig("d", "o", resume=True, checkpoint_minutes=1, checkpoint_steps=7, verify="off")
    assert same == config
    assert TrainConfig("d", "o", seed=1) != config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs should be from 1 to 100000; 0 is for --fit-head. Received: 0."),
        ({"epochs": -1, "fit_head": True}, "--epochs should be from 0 to 100000. Received: -1."),
        ({"unfreeze": "some"}, "--unfreeze should be all, none or top=N with N from 1 on. Received: 'some'."),
        ({"unfreeze": "top=0"}, "Received: 'top=0'."),
        ({"unfreeze": "top=-3"}, "Received: 'top=-3'."),
        ({"unfreeze": "all=3"}, "Received: 'all=3'."),
        ({"batch_norm": "some"}, "--batch-norm should be one of auto, train, freeze. Received: 'some'."),
        ({"batch_size": 0}, "--batch-size should be from 1 to"),
        ({"seed": -1}, "--seed should be from 0 to 2147483647. Received: -1."),
        ({"learning_rate": float("nan")}, "--learning-rate should be above 0 and at most 100. Received: nan."),
        ({"learning_rate": 0}, "--learning-rate should be above 0"),
        (
            {"loss": "some"},
            "--loss should be one of auto, ce, weighted, focal, logit-adjusted, ordinal, asymmetric, mse, mae, huber. "
            "Received: 'some'.",
        ),
        ({"focal_gamma": -1}, "--focal-gamma should be from 0 to 10. Received: -1."),
        ({"label_smoothing": 1}, "--label-smoothing should be from 0 to 0.99. Received: 1."),
        ({"resample": "sqrt"}, "--resample should be none, uniform or temperature=T with T from 1 (none) on"),
        ({"resample": "temperature=0.5"}, "Received: 'temperature=0.5'."),
        ({"resample": "temperature=nan"}, "Received: 'temperature=nan'."),
        ({"resample": "uniform=3"}, "Received: 'uniform=3'."),
        ({"epochs": "3"}, "--epochs should be of type int. Received: '3'."),
        ({"epochs": True}, "--epochs should be of type int. Received: True."),
        ({"flip": 1}, "--flip should be of type bool. Received: 1."),
        ({"model": ""}, "--model should not be empty."),
        ({"output": "gs://b/o"}, "--output should be a local directory. Received: 'gs://b/o'."),
        ({"checkpoint_steps": -1}, "--checkpoint-steps should be from 0 to"),
        ({"checkpoint_minutes": float("inf")}, "--checkpoint-minutes should be at least 0. Received: inf."),
        ({"cache": "disk"}, "--cache should be one of none, memory. Received: 'disk'."),
        ({"verify": "some"}, "--verify should be one of full, fast, off. Received: 'some'."),
        ({"patience": 2, "validation": "none"}, "--patience needs a validation split."),
    ],
)
def test_a_value_out_of_range_is_named(changes, message):
    with pytest.raises(ConfigError) as error:
        TrainConfig(**{"data": "d", "output": "o", **changes})
    assert message in str(error.value)


def test_help_loads_nothing_heavy():
    code = (
        "import sys, contextlib, io\nfrom trainer.__main__ import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(['train', '--help'])\n"
        "print(sorted({'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    began = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    assert time.perf_counter() - began < 5  # milliseconds on an idle machine; TensorFlow alone would take longer


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train", "--data", "d", "--output", "o", "--bogus", "1"], "--bogus"),
        (
            ["train", "--data", "d", "--output", "o", "--epoch", "1"],
            "--epoch 1; did you mean --epochs?",
        ),  # no abbreviations
        (["train", "--data", "d", "--output", "o", "--loss", "x"], "--loss"),
        (["train", "--data", "d", "--output", "o", "--cache", "disk"], "'disk' (choose from 'none', 'memory')"),
        (["bench", "--data", "d", "--cache", "disk"], "'disk' (choose from 'none', 'memory')"),
        (["evaluate", "--data", "d"], "--model"),
        (["evaluate", "--data", "d", "--model", "m", "--batch-size", "0"], "--batch-size"),
        (["nothing"], "nothing"),
        ([], "COMMAND"),
    ],
)
def test_argparse_errors_exit_with_2(argv, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train", "--data", "d"], "train: The following options are required: --output."),
        (["train", "--data", "d", "--output", "o", "--epochs", "0"], "train: --epochs should be from 1 to 100000;"),
        (["bench", "--data", "d", "--windows", "0"], "bench: --windows should be from 1 to 1000."),
        (["ablate", "--data", "d", "--seeds", "0"], "ablate: --seeds should be from 1 to 1000."),
        (["doctor"], "doctor: Give something to look at"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_status_2(argv, said, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert len(err.splitlines()) == 1


def test_a_wrong_output_or_model_directory_is_told_before_tensorflow_loads(tmp_path):
    write_dataset(tmp_path / "d", splits={"train": (1, 1)})
    (tmp_path / "mine.txt").write_text("not a run")
    code = f"""if True:
        import sys
        from trainer.__main__ import main
        data = ["--data", {str(tmp_path / "d")!r}]
        for argv in (["train", "--output", {str(tmp_path)!r}], ["evaluate", "--model", "no"],
                     ["export", "--output", "x", "--model", "no"]):
            assert main([*argv, *data]) == 1
        print("tensorflow" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    first, second, third = done.stderr.splitlines()
    assert first.startswith("train: --output should be empty, new, or an earlier training run.")
    assert second.startswith("evaluate: --model should be the --output directory of a finished training run.")
    assert third.startswith("export: --model should be")


def test_a_wrong_data_directory_is_one_sentence_without_a_trace(tmp_path, capsys):
    assert main(["train", "--data", str(tmp_path / "no"), "--output", str(tmp_path / "o")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("train: No readable contract.json in")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_flags_take_dashes_and_underscores(tmp_path, capsys):
    for spelling in ("--batch-size=0", "--batch_size=0"):
        assert main(["train", "--data", "d_d", "--output", "o", spelling]) == 2
        assert "--batch-size should be from 1" in capsys.readouterr().err
    assert main(["train", "--data", str(tmp_path / "a_b"), "--output", "o"]) == 1
    assert "a_b" in capsys.readouterr().err  # a value keeps its underscores
