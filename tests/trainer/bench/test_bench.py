import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from pipelines.core.errors import ConfigError
from tests.support.datasets import write_dataset
from trainer.bench import measure, verdict
from trainer.bench.config import BenchConfig
from trainer.bench.verdict import Findings, Spread
from trainer.cli.main import main
from trainer.config import TrainConfig
from trainer.models import build
from trainer.training import step as steps


def findings(loader: float, model: float, wait: float, **changes: object) -> Findings:
    """A GPU machine of 8 cores and a split so large that the start of a pass weighs nothing, changed as asked."""
    both = min(loader, model)
    base = Findings(
        records=10**12, batch_size=256, encoding="uint8", cores=8, accelerator=True,
        cache="none", mixed_precision="bfloat16", xla=True,
        loader=Spread(loader, loader * 0.9, loader * 1.1), loader_cores=3.0, first_batch_seconds=2.0,
        pass_start_seconds=0.5, model=Spread(model, model, model), both=Spread(both, both, both),
        wait_share=Spread(wait, wait / 2, min(1.0, 2 * wait)),
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def test_a_slow_loader_is_input_bound():
    judged = verdict.judge(findings(2000, 8000, 0.75, loader_cores=7.5))
    assert judged.kind == "input-bound"
    assert judged.sentence == (
        "Input-bound: the loader gives 2,000 images/s, 0.25 times the 8,000 of the model, and 75.0% of an epoch is "
        "spent waiting for input, so the device is idle for that long, and training could be 4 times as fast."
    )
    assert judged.advice == (
        "give the loader more cores: alone, it kept 7.5 of 8 cores busy",
        "or use the wait: a model up to 4 times as expensive trains in the same time",
    )


def test_a_fast_loader_is_compute_bound():
    judged = verdict.judge(findings(24000, 8000, 0.004))
    assert judged.kind == "compute-bound"
    assert judged.sentence == (
        "Compute-bound: the loader gives 24,000 images/s, 3 times the 8,000 of the model, and 0.4% of an epoch is "
        "spent waiting for input, so only a cheaper model or a faster device trains faster."
    )
    assert judged.advice[0] == "the loader could feed a device up to 3 times as fast"
    assert not any("GPU" in line or "--batch-size" in line for line in judged.advice)


def test_between_the_two_it_is_balanced():
    judged = verdict.judge(findings(8200, 8000, 0.05))
    assert judged.kind == "balanced"
    assert judged.sentence == (
        "Balanced: the loader gives 8,200 images/s, 1.02 times the 8,000 of the model, and 5.0% of an epoch is spent "
        "waiting for input, so a faster loader or a faster device alone gains little."
    )


@pytest.mark.parametrize(
    ("wait", "kind"),
    [(0.0, "compute-bound"), (0.019, "compute-bound"), (0.021, "balanced"), (0.099, "balanced"),
     (0.101, "input-bound"), (1.0, "input-bound")],
)  # fmt: skip
def test_the_wait_decides(wait, kind):
    assert verdict.judge(findings(8000, 8000, wait)).kind == kind


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoding": "float32"}, "a quarter of the bytes"),
        ({"encoding": "float16"}, "half of the bytes"),
        ({"encoding": "jpeg"}, "nothing to decode"),
        ({"encoding": "jpeg"}, "--cache memory"),
        ({"loader_cores": 0.2}, "a faster disk"),
        ({"loader_cores": 6.5}, "more cores"),
        ({"batch_size": 32}, "raise --batch-size (now 32)"),
    ],
)
def test_the_advice_follows_from_what_was_found(changes, said):
    assert not any(said in line for line in verdict.judge(findings(2000, 8000, 0.75)).advice)
    assert any(said in line for line in verdict.judge(findings(2000, 8000, 0.75, **changes)).advice)


def test_the_advice_names_the_options_that_are_left():
    def said(**changes):
        return " ".join(verdict.judge(findings(24000, 8000, 0.004, **changes)).advice)

    assert "--mixed-precision bfloat16" in said(mixed_precision="none")
    assert "--jit on" in said(xla=False)
    assert "--mixed" not in said() and "--jit" not in said()  # noqa: PT018
    assert "--mixed" not in said(mixed_precision="none", accelerator=False)  # it would be slower
    fed = verdict.judge(findings(2000, 8000, 0.75, encoding="jpeg", cache="memory"))
    assert not any("--cache" in line for line in fed.advice)


def test_a_small_split_waits_at_the_start_of_every_pass():
    """1,000 records: half a second of start, half a second of steps; no wait between them."""
    found = findings(8000, 2000, 0.0, records=1000)
    assert found.loader_rate == pytest.approx(1000 / (0.5 + 0.125))
    assert found.epoch_wait_share == pytest.approx(0.5)
    judged = verdict.judge(found)
    assert judged.kind == "input-bound"
    assert judged.advice[0].startswith("each pass begins with 0.5 s of waiting for its first batch")


def test_a_step_that_shares_cores_with_the_loader_is_told():
    slow = Spread(4000.0, 4000.0, 4000.0)
    found = findings(16000, 8000, 0.01, both=slow, accelerator=False, cores=1)
    assert found.stretch == pytest.approx(1.98)
    said = (
        "while the loader runs, a step takes 1.98 times as long as alone, because they share 1 core; both would be "
        "faster with more cores"
    )
    assert said in verdict.judge(found).advice
    assert not any("because they share" in line for line in verdict.judge(findings(16000, 8000, 0.01)).advice)


def test_spread_takes_the_median():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([4.0, 1.0, 2.0, 3.0]) == Spread(2.5, 1.0, 4.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0}, "--seconds should be from 0.01 to 3600. Received: 0."),
        ({"seconds": float("nan")}, "--seconds should be from"),
        ({"windows": 0}, "--windows should be from 1 to 1000. Received: 0."),
        ({"split": ""}, "--split should not be empty."),
        ({"model": ""}, "--model should not be empty."),
        ({"profile": __file__}, "--profile should be a local folder to write to."),
        ({"json": "no/such/folder/f.json"}, "--json should be a file in a folder that is there."),
    ],
)
def test_a_wrong_option_is_named(changes, message):
    with pytest.raises(ConfigError) as error:
        BenchConfig(**{"data": "d", **changes})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("splits", "argv", "said"),
    [
        ({"train": (3, 3)}, ["--split", "test"], "No split 'test' in dataset 'tiny': it has train."),
        ({"train": (3, 3), "test": (0, 0)}, ["--split", "test"], "holds no records: choose another with --split."),
        ({"train": (3, 3)}, [], "--batch-size should be at most half of the 6 records of split 'train'"),
        ({"train": (3, 3)}, [], "Use --batch-size 3 or less"),
        ({"train": (1, 0)}, ["--batch-size", "1"], "holds one record: nothing can be measured on it."),
    ],
)
def test_a_split_that_cannot_be_measured_is_one_sentence(tmp_path, capsys, splits, argv, said):
    write_dataset(tmp_path / "d", splits=splits)
    assert main(["bench", "--data", str(tmp_path / "d"), *argv]) == 1
    err = capsys.readouterr().err
    assert err.startswith("bench: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_feed_goes_from_pass_to_pass_and_keeps_their_first_waits_apart():
    feed = measure.Feed(tf.data.Dataset.range(3).map(lambda i: (i,)))
    assert [int(feed.take()[0][0]) for _ in range(5)] == [1, 2, 1, 2, 1]
    assert len(feed.starts) == 3


def test_a_window_counts_waiting_and_working_apart():
    seen = []
    window = measure.measure(measure.Feed(tf.data.Dataset.range(100).map(lambda i: (i,))), seen.append, 0.0)
    assert len(seen) == 2  # at least
    assert window.step == window.waited + window.worked
    assert window.waited > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "encoding", "weighted"),
    [
        (["--mixed-precision", "bfloat16"], "uint8", True),
        (["--model", "resnet20", "--no-deterministic"], "float16", False),
        (["--cache", "memory"], "png", False),
    ],
)
def test_the_command_measures_and_writes_what_it_found(tmp_path, capsys, argv, encoding, weighted):
    write_dataset(tmp_path / "d", encoding=encoding, weighted=weighted)
    file = tmp_path / "found.json"
    few = ["--batch-size", "4", "--seconds", "0.1", "--windows", "2"]
    assert main(["bench", "--data", str(tmp_path / "d"), *few, *argv, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["verdict"]["sentence"] in out
    assert content["verdict"]["kind"] in ("input-bound", "compute-bound", "balanced")
    for name in ("loader", "model", "both"):
        assert 0 < content[name]["least"] <= content[name]["median"] <= content[name]["greatest"]
    assert 0 <= content["wait_share"]["median"] <= content["wait_share"]["greatest"] < 1
    assert content["ratio"] == pytest.approx(content["loader_rate"] / content["model"]["median"])
    assert (content["records"], content["batch_size"], content["encoding"]) == (32, 4, encoding)
    assert content["parameters"] > 50_000
    assert ("resnet20" in content["network"]) == ("resnet20" in argv)
    assert (content["cache"], content["mixed_precision"], content["xla"]) == (
        "memory" if "--cache" in argv else "none", "bfloat16" if "bfloat16" in argv else "none", False,
    )  # fmt: skip
    assert content["devices"][-1] == "CPU"
    assert content["options"]["seconds"] == 0.1
    assert {"cores", "loader_cores", "first_batch_seconds", "pass_start_seconds", "stretch", "epoch_wait_share",
            "network", "versions", "accelerator"} <= set(content)  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "found.json"]


def test_the_model_is_trained_as_the_train_command_does(tmp_path):
    """Every step changes the weights: the optimizer is part of what is timed."""
    contract = write_dataset(tmp_path / "d", encoding="uint8")
    setup = TrainConfig(data=str(tmp_path / "d"), output="o", batch_size=4)
    batch = measure.batch_in_memory(contract, 4)
    assert [t.dtype for t in batch] == [tf.uint8, tf.int64]
    network = build.build("cnn", contract)
    step = measure.training_step(steps.training_model(setup, contract, network, 1), batch)
    before = network.get_weights()
    step(batch)
    assert any(np.any(old != new) for old, new in zip(before, network.get_weights(), strict=True))


@pytest.mark.slow
def test_profile_writes_a_trace(tmp_path):
    write_dataset(tmp_path / "d")
    few = ["--batch-size", "4", "--seconds", "0.05", "--windows", "1", "--model", "cnn"]
    assert main(["bench", "--data", str(tmp_path / "d"), *few, "--profile", str(tmp_path / "trace")]) == 0
    traces = list((tmp_path / "trace" / "plugins" / "profile").rglob("*.xplane.pb"))
    assert len(traces) == 1
    space = xplane_pb2.XSpace.FromString(traces[0].read_bytes())  # what TensorBoard's profile plugin reads
    events = {plane.event_metadata[event.metadata_id].name for plane in space.planes for line in plane.lines
              for event in line.events}  # fmt: skip
    assert sum(name.startswith("train") for name in events) > 0
    assert any("Conv2D" in name for name in events)


def test_help_shows_defaults_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom trainer.__main__ import main\n"
        "try: main(['bench', '--help'])\n"
        "except SystemExit: print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    unwrapped = "".join(out.split())  # the width of the terminal decides where lines end
    assert "(default:3.0)" in unwrapped
    assert "tensorboard-plugin-profile" in unwrapped
