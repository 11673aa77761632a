"""Two virtual devices, and two processes on this machine, come to what one device comes to."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import signal
import socket
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from tests.support import folds, tasks, warm
from tests.support.datasets import write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset
from trainer.devices import distribution
from trainer.models import build
from trainer.training import resume

pytestmark = pytest.mark.slow

# 21 records in batches of 4: the last of an epoch's 6 has one record, so that one of two replicas has none.
SPLITS = {"train": (14, 7), "validation": (4, 3), "test": (3, 2)}
PLAIN, NORMALIZING = "tests.support.distribution:plain", "tests.support.distribution:normalizing"
# The same on any number of devices, because it comes after the sum of the gradients; clipping at this norm bites.
CONTROL = {"clip_norm": 0.05, "ema": 0.9, "weight_decay": 0.01, "schedule": "cosine", "loss": "logit-adjusted"}
RANDOM = {"flip": True, "checkpoint_steps": 2, "mixup": 0.2, "cutmix": 1.0, "ema": 0.9, "train_size": "4:6"}
ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("strategy") / "data"
    write_dataset(path, encoding="uint8", splits=SPLITS)
    return path


def options(data, out, **changes):
    return {"data": str(data), "output": str(out), "epochs": 2, "batch_size": 4, "verify": "off", "model": PLAIN,
            "flip": False, **changes}  # fmt: skip


def start(devices, runs, **environment):
    code = [sys.executable, "-m", "tests.support.distribution", str(devices), json.dumps(runs)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with tempfile.TemporaryFile() as said:
        process = warm.Popen(code, cwd=ROOT, env=env, stdin=warm.DEVNULL, stdout=said, stderr=warm.STDOUT)
        return process, os.fdopen(os.dup(said.fileno()), encoding="utf-8", errors="replace")


def rows(out):
    found = list(csv.DictReader((out / "metrics.csv").open(newline="")))
    return [{name: float(value) for name, value in row.items() if name != "images_per_second"} for row in found]


def assert_same_curve(out, expected):
    for row, other in zip(rows(out), rows(expected), strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    for given, wanted in zip(weights(out), weights(expected), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-3, atol=1e-5)


def weights(out):
    return build.load(out / "model.keras").get_weights()


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of all runs, and what each process said: one device, two devices, two workers, side by side.

    The second of the workers is ended in the second epoch, by SIGTERM, which TensorFlow would have it outlive; then
    both are started again.
    """
    root = tmp_path_factory.mktemp("runs")
    mirrored = {"strategy": "mirrored"}
    processes = {
        "one": start(1, [options(data, root / "one", **CONTROL), options(data, root / "one-bn", model=NORMALIZING)]),
        "two": start(2, [options(data, root / "two", **mirrored, **CONTROL, steps_per_execution=3)]),
        "two-bn": start(2, [options(data, root / "two-bn", **mirrored, model=NORMALIZING)]),
        "random": start(2, [options(data, root / "random", **mirrored, **RANDOM, steps_per_execution=2)]),
        "killed": start(2, [options(data, root / "killed", **mirrored, **RANDOM, steps_per_execution=2,
                                   kill=[1, 2, signal.SIGKILL])]),
        **start_workers(data, root / "workers", "left", {"kill": [1, 2, signal.SIGTERM]}),
    }  # fmt: skip
    said, codes = ended(processes)
    expected = dict.fromkeys(processes, 0) | {"killed": -signal.SIGKILL, "left-0": 1, "left-1": -signal.SIGTERM}
    assert codes == expected, said
    more, codes = ended(start_workers(data, root / "workers", "worker", resume=True))
    assert set(codes.values()) == {0}, more
    return root, said | more


def start_workers(data, out, name, of_second=(), **changes):
    """Two workers; the second believes that it is slow: alone it would run fewer steps in a call than the first."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    both = options(data, out, strategy="multiworker", checkpoint_steps=4, **CONTROL, **changes)
    runs = {**both, "seconds": 1e-4}, {**both, "seconds": 1.0, **dict(of_second)}
    roles = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]
    return {f"{name}-{i}": start(1, [runs[i]], TF_CONFIG=roles[i]) for i in range(2)}


def ended(processes):
    """What each of them said, and their exit statuses."""
    codes = {name: process.wait(timeout=900) for name, (process, _) in processes.items()}
    return {name: text(said) for name, (_, said) in processes.items()}, codes


def text(file):
    with file:
        file.seek(0)
        return file.read()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# Of each, the options in which records of unequal weight, a mixed loss and a fold of train matter.
TASKS = {
    "multi-label": {"loss": "weighted", "clip_norm": 0.05},
    "regression": {"loss": "huber", "ema": 0.9},
    "fold-of-labels": {"loss": "asymmetric", "fold": 1, "validation": "validation"},
}


@pytest.fixture(scope="module")
def finished_tasks(tmp_path_factory):
    """The folder of runs of labels, of numbers and of a fold: one device, two devices, side by side.

    48 records in batches of 7: the last one of an epoch has 6, and those of the fold 32 records, of which 4 are left.
    """
    root = tmp_path_factory.mktemp("tasks")
    for name in TASKS:
        kind = "multi-label" if name.startswith("fold") else name
        tasks.write(root / "data" / name, kind, weighted=True)
    folds.divide(root / "data/fold-of-labels", 3)

    def run(name, of, **changes):
        return options(root / "data" / name, root / f"{of}-{name}", batch_size=7, **TASKS[name], **changes)

    processes = {"one": start(1, [run(name, "one") for name in TASKS])}
    # A process has one strategy for one training.
    processes |= {name: start(2, [run(name, "two", strategy="mirrored")]) for name in TASKS}
    said, codes = ended(processes)
    assert set(codes.values()) == {0}, said
    return root, said


@pytest.mark.parametrize("name", TASKS)
def test_labels_numbers_and_folds_come_to_the_curve_of_one_device(finished_tasks, name):
    root, said = finished_tasks
    assert_same_curve(root / f"two-{name}", root / f"one-{name}")
    assert "on 2 replicas of 1 workers" in said[name]
    ours, theirs = (json.loads((root / f"{of}-{name}" / "metrics.json").read_text()) for of in ("two", "one"))
    score = "mean_absolute_error" if name == "regression" else "mean_average_precision"
    assert ours["splits"]["test"][score] == pytest.approx(theirs["splits"]["test"][score], rel=1e-3)


@pytest.mark.parametrize("name", ["two", "two-bn"])
def test_two_devices_come_to_the_curve_of_one(finished, name):
    root, said = finished
    assert_same_curve(root / name, root / name.replace("two", "one"))
    assert "on 2 replicas of 1 workers" in said["two"]


def test_two_workers_come_to_the_curve_of_one_and_only_the_first_writes(finished):
    root, said = finished
    assert_same_curve(root / "workers", root / "one")
    assert "on 2 replicas of 2 workers" in said["worker-0"]
    assert "worker 2 of 2: the first one reports and writes" in said["worker-1"]
    assert "epoch 1/2" in said["left-0"]
    assert "epoch 2/2" in said["worker-0"]
    assert "epoch 1/2" not in said["left-1"] + said["worker-1"]
    assert "waiting until all 2 workers have started: 127.0.0.1:" in said["worker-0"]
    ours, theirs = (json.loads((root / name / "metrics.json").read_text()) for name in ("workers", "one"))
    assert ours["splits"]["test"]["confusion_matrix"] == theirs["splits"]["test"]["confusion_matrix"]
    assert not (root / "workers/checkpoints").exists()


def test_when_a_worker_dies_the_other_one_says_so(finished):
    _, said = finished
    assert "Another worker of the cluster ended: look at its messages, then start all of them again" in said["left-0"]
    assert "continuing from step-000000000006.checkpoint: epoch 2, after 0 of its steps" in said["worker-0"]


def test_a_killed_run_on_two_devices_goes_on_to_the_same_bits(data, finished, tmp_path):
    """With flips and mixtures, which each replica draws for itself."""
    root, _ = finished
    again = options(data, root / "killed", strategy="mirrored", **RANDOM, resume=True)
    process, file = start(2, [again])
    code, said = process.wait(timeout=900), text(file)
    assert code == 0, said
    assert "epoch 2, after 2 of its steps" in said
    assert rows(root / "killed") == rows(root / "random")
    for given, expected in zip(weights(root / "killed"), weights(root / "random"), strict=True):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("encoding", ["uint8", "png"])
@pytest.mark.parametrize("parts", [2, 3])
def test_each_record_comes_once_in_whatever_parts(tmp_path, encoding, parts):
    contract = write_dataset(tmp_path / "d", encoding=encoding, splits=SPLITS)

    def epoch(share):
        batches = dataset.load(tmp_path / "d", "train", 4, shuffle=True, seed=3, dequantize=False, share=share)
        return [(images[: int(n), 0, 0, 0].numpy().tolist(), len(images)) for (images, _), n in batches]

    shares = [epoch((number, parts)) for number in range(parts)]
    whole = [
        images[:, 0, 0, 0].numpy().tolist()
        for images, _ in dataset.load(tmp_path / "d", "train", 4, shuffle=True, seed=3, dequantize=False)
    ]
    assert [[i for records, _ in step for i in records] for step in zip(*shares, strict=True)] == whole
    assert sorted(i for batch in whole for i in batch) == list(range(21))
    assert min(size for share in shares for _, size in share) == 1  # never an empty batch
    last = [len(share[-1][0]) for share in shares]
    assert sum(last) == 1
    assert contract.split("train").records == 21


def test_parts_by_hand():
    seen = []

    class Two:
        num_replicas_in_sync = 2

        def run(self, function, args):
            for number in range(2):
                context = type("Context", (), {"replica_id_in_sync_group": number})
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(distribution.tf.distribute, "get_replica_context", lambda context=context: context)
                    function(*args)

    step = distribution.divided(lambda part, records: seen.append((part[0].numpy().tolist(), int(records))), Two())
    for size in (4, 3, 1):
        step(((tf.range(size),), tf.constant(size)))
    assert seen == [([0, 1], 2), ([2, 3], 2), ([0], 1), ([1, 2], 2), ([0], 0), ([0], 1)]
    seen.clear()
    step(((tf.range(1),), tf.constant(0)))  # this worker has but a copy
    assert seen == [([0], 0), ([0], 0)]


def test_one_training_on_several_devices_a_process(monkeypatch):
    monkeypatch.setattr(distribution, "_begun", ["mirrored"])
    with pytest.raises(TrainerError, match=r"can train only once per process: .* its own process"):
        distribution.strategy("mirrored")


def test_what_does_not_go_together_is_refused(data, tmp_path):
    class Four:
        num_replicas_in_sync = 4

    with pytest.raises(TrainerError, match="--batch-size is that of all replicas together and should be at least 4"):
        distribution.check(TrainConfig("d", "o", strategy="mirrored", batch_size=3), Four())
    with pytest.raises(TrainerError, match="--jit on goes with --strategy one only"):
        distribution.check(TrainConfig("d", "o", strategy="mirrored", jit="on"), Four())
    with pytest.raises(TrainerError, match="--freeze-epochs goes with --strategy one only"):
        distribution.check(TrainConfig("d", "o", strategy="mirrored", freeze_epochs=1), Four())
    config, contract = TrainConfig(str(data), "o"), contracts.load(data)
    one, two = resume.fingerprint(config, contract, 1), resume.fingerprint(config, contract, 2)
    with pytest.raises(TrainerError, match=r"These differ: how many replicas \(was 2, is 1\)"):
        resume.refuse_other("o", two, one)
