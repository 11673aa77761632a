"""A run that was killed goes on, and comes to the very weights that it would have come to."""

from __future__ import annotations

import csv
import json
import logging
import os
import pathlib
import pickletools
import shutil
import signal
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract
from pipelines.options import config_fields, config_file
from tests.support import trainings, warm
from tests.support.datasets import write_dataset
from tests.support.log import logged
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.devices import sigterm
from trainer.models import build
from trainer.training import checkpoint_file, finalize, loop, resume, train
from trainer.training.epoch_reports import Progress

# 21 records in batches of 4: 6 steps an epoch, the last one of 1 record; 3 epochs.
OPTIONS = {"epochs": 3, "batch_size": 4, "loss": "weighted", "checkpoint_steps": 2, "verify": "off",
           "steps_per_execution": 1}  # fmt: skip
SPLITS = {"train": (14, 7), "validation": (4, 3)}
LAST = 18


class Killed(BaseException):
    """What stands for SIGKILL: no handler in the product sees it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("resume") / "data"
    write_dataset(path, encoding="uint8", splits=SPLITS, weighted=True)
    return path


@pytest.fixture(autouse=True, scope="module")
def without_pictures_and_export():
    with trainings.without_reports(export=False):
        yield


def run(data, out, **changes):
    with logged() as text:
        result = train.train(TrainConfig(str(data), str(out), **{**OPTIONS, **changes}))
    return result, text.getvalue().removesuffix("\n")


def killed(data, out, step, monkeypatch, **changes):
    """Trains until `step` steps are done, no multiple of 6, and dies before the checkpoint that may be due then."""
    after_step = resume.Saver.after_step

    def dies(self, epoch_ended):
        if not epoch_ended and self._position.epoch * self._steps + self._position.step == step:
            raise Killed
        after_step(self, epoch_ended)

    with monkeypatch.context() as patch:
        patch.setattr(resume.Saver, "after_step", dies)
        with pytest.raises(Killed):
            run(data, out, **changes)


def outcome(out):
    """Everything that a run leaves and that does not tell the time."""
    rows = list(csv.DictReader((out / "metrics.csv").open(newline="")))
    for row in rows:
        del row["images_per_second"]
    config = TrainConfig(**config_file.read(out / "config.yaml", TrainConfig) | {"output": "o"})
    files = [(out / name).read_bytes() for name in ("metrics.json", "contract.json")]
    return build.load(out / "model.keras").get_weights(), rows, config, files


def assert_same_outcome(one, other):
    (weights, *rest), (same_weights, *same_rest) = outcome(one), outcome(other)
    assert rest == same_rest
    for given, expected in zip(weights, same_weights, strict=True):
        np.testing.assert_array_equal(given, expected)


def drop_checkpoints(patch, kept):
    """Has the last checkpoint of a run appended to `kept` before it is taken away."""
    drop = train.run_dir.drop_checkpoints

    def keep(run):
        kept.append(checkpoint_file.latest(run.checkpoints))
        drop(run)

    patch.setattr(train.run_dir, "drop_checkpoints", keep)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run without an interruption, and the state in which it ended."""
    out = tmp_path_factory.mktemp("whole") / "run"
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        drop_checkpoints(patch, kept)
        run(data, out)
    return out, kept[0]


@pytest.fixture(scope="module")
def begun_run(data, tmp_path_factory):
    """A run that died after 9 steps, with checkpoints of step 6 and 8. A test that changes it copies it."""
    out = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        killed(data, out, 9, patch)
    return out


@pytest.fixture
def begun(begun_run, tmp_path):
    """A copy of `begun_run`, called run."""
    return pathlib.Path(shutil.copytree(begun_run, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [(2,), (3, 7, 17)], ids=str)
def test_a_killed_run_comes_to_the_very_same_weights(data, whole, tmp_path, monkeypatch, steps):
    out = tmp_path / "run"
    killed(data, out, steps[0], monkeypatch)
    for step in steps[1:]:
        killed(data, out, step, monkeypatch, resume=True)
    states = []
    drop = train.run_dir.drop_checkpoints
    monkeypatch.setattr(
        train.run_dir,
        "drop_checkpoints",
        lambda r: (states.append(checkpoint_file.latest(r.checkpoints)), drop(r)),
    )
    result, said = run(data, out, resume=True)
    assert "continuing from step-" in said or steps == (2,)
    assert result == json.loads((whole[0] / "metrics.json").read_text())
    assert_same_outcome(out, whole[0])
    last, expected = states[0], whole[1]
    assert last.path.name == expected.path.name == f"step-{LAST:012d}.checkpoint"
    for group, arrays in expected.arrays.items():  # of the last epoch: weights, flips, dropout, optimizer
        for array, same in zip(last.arrays[group], arrays, strict=True):
            np.testing.assert_array_equal(array, same)
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
def test_a_killed_streamed_run_comes_to_the_very_same_weights(tmp_path, monkeypatch):
    write_dataset(tmp_path / "data", encoding="png", splits=SPLITS)
    run(tmp_path / "data", tmp_path / "one")
    killed(tmp_path / "data", tmp_path / "two", 10, monkeypatch)
    assert (
        "step-000000000008.checkpoint: epoch 2, after 2 of" in run(tmp_path / "data", tmp_path / "two", resume=True)[1]
    )
    assert_same_outcome(tmp_path / "one", tmp_path / "two")


# Everything that has a state, or depends on the step: an epoch with all but the head frozen, two after it.
EVERYTHING = {
    "freeze_epochs": 1, "head_learning_rate": 0.01, "schedule": "cosine", "warmup_epochs": 0.5, "weight_decay": 0.01,
    "clip_norm": 1.0, "ema": 0.9, "mixup": 0.4, "cutmix": 1.0, "augment_classes": "broken", "resample": "uniform",
    "loss": "focal", "label_smoothing": 0.1, "fit_head": True,
}  # fmt: skip


@pytest.mark.slow
def test_a_run_with_all_options_comes_to_the_very_same_weights(data, tmp_path, monkeypatch):
    """Killed while the backbone is frozen and after it; `last.keras` agrees too."""
    run(data, tmp_path / "one", **EVERYTHING)
    killed(data, tmp_path / "two", 4, monkeypatch, **EVERYTHING)
    killed(data, tmp_path / "two", 15, monkeypatch, resume=True, **EVERYTHING)
    said = run(data, tmp_path / "two", resume=True, **EVERYTHING)[1]
    assert "continuing from step-000000000014.checkpoint" in said
    assert_same_outcome(tmp_path / "one", tmp_path / "two")
    one, two = (build.load(tmp_path / name / "last.keras") for name in ("one", "two"))
    for weights, same in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, same)
    assert all(layer.trainable for layer in two.layers)


CHILD = """
import os, signal, sys
from trainer.__main__ import main
from trainer.training import resume
left = [int(sys.argv[1])]
after_step = resume.Saver.after_step
def counts(self, epoch_ended):
    after_step(self, epoch_ended)
    left[0] -= not epoch_ended
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
resume.Saver.after_step = counts
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_process_that_is_killed(data, whole, tmp_path):
    """SIGKILL, in a process of its own; what it leaves on the disk is gone on from."""
    out = tmp_path / "run"
    argv = ["train", "--data", str(data), "--output", str(out), "--epochs", "3", "--batch-size", "4",
            "--loss", "weighted", "--checkpoint-steps", "2", "--verify", "off",
            "--steps-per-execution", "1"]  # fmt: skip
    dead = warm.run([sys.executable, "-c", CHILD, "8", *argv])
    assert dead.returncode == -signal.SIGKILL, dead.stderr[-2000:]
    names = [path.name for path in checkpoint_file.found(out / "checkpoints")]
    assert names == ["step-000000000008.checkpoint", "step-000000000006.checkpoint"]
    assert main([*argv, "--resume"]) == 0
    assert_same_outcome(out, whole[0])


@pytest.mark.slow
def test_a_process_that_is_told_to_end_writes_a_checkpoint_first(data, whole, tmp_path, monkeypatch, caplog):
    """Between two checkpoints of --checkpoint-steps; in a run that says so in its last line."""
    before, after_step = signal.getsignal(signal.SIGTERM), resume.Saver.after_step
    caplog.set_level(logging.INFO)

    def told(self, epoch_ended):
        if self._position.epoch * self._steps + self._position.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(self, epoch_ended)

    with monkeypatch.context() as patch:
        patch.setattr(resume.Saver, "after_step", told)
        with pytest.raises(SystemExit) as raised:
            train.train(TrainConfig(str(data), str(tmp_path / "run"), **OPTIONS))

    assert raised.value.code == 128 + signal.SIGTERM
    assert caplog.messages[-1] == "ended by SIGTERM: the same command with --resume continues from the last checkpoint"
    assert checkpoint_file.found(tmp_path / "run/checkpoints")[0].name == "step-000000000009.checkpoint"
    assert signal.getsignal(signal.SIGTERM) == before
    _, said = run(data, tmp_path / "run", resume=True)
    assert "epoch 2, after 3 of its steps" in said
    assert_same_outcome(tmp_path / "run", whole[0])


@pytest.fixture
def terminated():
    """How often SIGTERM came to the handler that was there before."""
    count = []
    before = signal.signal(signal.SIGTERM, lambda *_: count.append(1))
    yield count
    signal.signal(signal.SIGTERM, before)


def test_only_the_first_sigterm_is_noted_and_one_that_nobody_heeds_takes_effect_later(terminated):
    before = signal.getsignal(signal.SIGTERM)
    with sigterm.noted() as came:
        assert not came()
        os.kill(os.getpid(), signal.SIGTERM)
        assert came()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a second one ends the process
        assert terminated == []
    assert terminated == [1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_sigterm_that_is_heeded_comes_once(terminated):
    def heeds():
        with sigterm.noted() as came:
            os.kill(os.getpid(), signal.SIGTERM)
            if came():
                sigterm.leave()

    with pytest.raises(SystemExit):
        heeds()
    assert terminated == []


def test_sigterm_is_left_alone_where_it_is_not_to_be_noted(terminated):
    before = signal.getsignal(signal.SIGTERM)
    with sigterm.noted(active=False) as came:
        assert signal.getsignal(signal.SIGTERM) is before
        os.kill(os.getpid(), signal.SIGTERM)
        assert terminated == [1]
        assert not came()


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(data, whole, begun, tmp_path):
    out = begun
    newest, older = checkpoint_file.found(out / "checkpoints")
    assert (newest.name, older.name) == ("step-000000000008.checkpoint", "step-000000000006.checkpoint")
    saved = tmp_path / "saved"
    shutil.copytree(out, saved)
    newest.write_bytes(newest.read_bytes()[:-100])
    _, said = run(data, out, resume=True)
    assert "warning: checkpoint step-000000000008.checkpoint is damaged" in said
    assert "continuing from step-000000000006.checkpoint: epoch 2, after 0 of its steps" in said
    assert_same_outcome(out, whole[0])
    for path in checkpoint_file.found(saved / "checkpoints"):
        path.write_bytes(b"\0" * 1000)
    _, said = run(data, saved, resume=True)
    assert said.count("is damaged") == 2
    assert f"no checkpoint in {str(saved)!r} can be read: starting over" in said
    assert_same_outcome(saved, whole[0])


BEGUN = {
    "options": {"seed": 0, "epochs": 3}, "dataset": "1" * 64, "reading": "as streams", "replicas": 1,
    "versions": {"keras": "3.1"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"options": {"seed": 1, "epochs": 3}}, r"--seed \(was 0, is 1\)"),
        ({"options": {"seed": 0, "epochs": 3, "ema": 0.9}}, r"--ema \(was None, is 0\.9\)"),  # of a newer version
        ({"dataset": "2" * 64}, "the dataset"),
        ({"reading": "from memory maps"}, r"how shards are read \(was as streams, is from memory maps\)"),
        ({"replicas": 2}, r"how many replicas \(was 1, is 2\)"),
        ({"versions": {"keras": "3.2"}}, r"keras \(was 3\.1, is 3\.2\)"),
    ],
    ids=["options", "new-option", "dataset", "reading", "replicas", "versions"],
)
def test_each_difference_alone_is_refused(change, named):
    resume.refuse_other("o", BEGUN, BEGUN)
    with pytest.raises(TrainerError, match=f"These differ: {named}"):
        resume.refuse_other("o", BEGUN, BEGUN | change)


def test_all_options_are_compared_but_those_that_change_no_weight(data):
    config = TrainConfig(str(data), "o")
    compared = resume.fingerprint(config, contract.load(data), 1)["options"]
    assert {field.name for field in config_fields.options(config)} - set(compared) == {
        "data", "output", "cache", "steps_per_execution", "resume", "checkpoint_minutes", "checkpoint_steps", "verify",
        "slice_size", "slice_by", "abstain_error", "log", "timings",
    }  # fmt: skip


def test_restoring_puts_each_number_back_where_it_was():
    weight, moment, count = tf.Variable([0.0]), tf.Variable([0.0]), tf.Variable(0.0)
    model = SimpleNamespace(
        variables=[weight, moment, count], optimizer_variables=lambda: [moment], metric_variables=lambda: [count]
    )
    progress = Progress(None, 9, 4, 21, 0, None)
    state = loop.State(model, loop.Position(), progress)
    session = resume.Session(lambda: None, lambda: False)
    saver = resume.Saver(TrainConfig("d", "o"), resume.Checkpoints(None, {}, None), state, 6, session)
    rows = [{"epoch": 1, "loss": 0.5}]
    saver.restore(
        checkpoint_file.Checkpoint(
            pathlib.Path("step-000000000009.checkpoint"),
            {"position": {"epoch": 1, "step": 3}, "progress": {"rows": rows, "best_epoch": 1, "best": [0.75, -0.5]}},
            {
                "model": [np.array([2.0])],
                "optimizer": [np.array([3.0])],
                "metrics": [np.array(4.0)],
                "best": [np.ones(1)],
            },
        )
    )
    assert state.position.start() == (1, 3)
    assert [float(v.numpy().sum()) for v in (weight, moment, count)] == [2, 3, 4]
    assert (progress.rows, progress.best_epoch, progress.weights) == (rows, 1, [np.ones(1)])


@pytest.mark.slow
def test_what_differs_is_named(data, begun_run, tmp_path, monkeypatch, capsys):
    out = begun_run
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(
        TrainerError, match=r"These differ: --batch-size \(was 4, is 5\), --flip \(was True, is False\)\. "
    ):
        run(data, out, resume=True, batch_size=5, flip=False)
    other = tmp_path / "other"
    write_dataset(other, encoding="uint8", splits={**SPLITS, "validation": (4, 2)}, weighted=True)
    with pytest.raises(TrainerError, match=r"These differ: the dataset \(its contract differs\)\. "):
        run(other, out, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(resume.keras, "__version__", "9.9")
        with pytest.raises(TrainerError, match=r"These differ: keras \(was .*, is 9\.9\)\. "):
            run(data, out, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(resume.dataset, "is_gathered", lambda *_: False)
        with pytest.raises(
            TrainerError, match=r"These differ: how shards are read .was from memory maps, is as streams"
        ):
            run(data, out, resume=True)
    assert main(["train", "--data", str(data), "--output", str(out), "--resume", "--verify", "off"]) == 1
    err = capsys.readouterr().err
    assert "--epochs (was 3, is 15)" in err
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == kept


@pytest.mark.slow
def test_a_network_that_was_changed_is_refused(data, begun, monkeypatch):
    monkeypatch.setitem(build.BUILT_IN, "cnn", build.BUILT_IN["resnet20"])
    with pytest.raises(TrainerError, match=r"--resume needs the network of step-000000000008.checkpoint, which has 1"):
        run(data, begun, resume=True)


@pytest.mark.slow
def test_a_moved_dataset_and_run_go_on(data, whole, begun, tmp_path):
    shutil.copytree(data, tmp_path / "elsewhere")
    begun.rename(tmp_path / "moved")
    run(tmp_path / "elsewhere", tmp_path / "moved", resume=True, checkpoint_steps=1, checkpoint_minutes=0.0)
    for weights, expected in zip(outcome(tmp_path / "moved")[0], outcome(whole[0])[0], strict=True):
        np.testing.assert_array_equal(weights, expected)


@pytest.mark.slow
def test_resume_with_nothing_there_and_with_a_finished_run(data, whole, tmp_path):
    result, said = run(data, tmp_path / "run", resume=True)
    assert f"nothing to resume in {str(tmp_path / 'run')!r}: starting from the beginning" in said
    assert_same_outcome(tmp_path / "run", whole[0])
    before = (tmp_path / "run" / "model.keras").stat().st_mtime_ns
    again, said = run(data, tmp_path / "run", resume=True)
    assert again == result
    assert said == f"the run in {str(tmp_path / 'run')!r} is finished: epoch {result['epochs']['kept']} of 3 was kept"
    assert (tmp_path / "run" / "model.keras").stat().st_mtime_ns == before
    with pytest.raises(TrainerError, match=r"These differ: --epochs \(was 3, is 4\)"):
        run(data, tmp_path / "run", resume=True, epochs=4)


@pytest.mark.slow
def test_without_resume_an_unfinished_run_is_started_over(data, whole, begun, tmp_path):
    _, said = run(data, begun)
    assert "holds an unfinished run, which is started again from the beginning; --resume would continue it" in said
    assert "continuing from" not in said
    assert_same_outcome(tmp_path / "run", whole[0])


@pytest.mark.slow
def test_a_run_killed_after_its_last_step_only_writes_its_files(data, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(finalize.export, "write", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(data, tmp_path / "run")
    _, said = run(data, tmp_path / "run", resume=True)
    assert "continuing from step-000000000018.checkpoint" in said
    assert "\nepoch 3/3" not in said
    assert_same_outcome(tmp_path / "run", whole[0])


@pytest.mark.slow
def test_early_stopping_is_remembered(data, tmp_path, monkeypatch):
    """The best weights and their rank are in the checkpoint: patience runs out in the same epoch."""
    options = {"epochs": 9, "patience": 1, "learning_rate": 0.05}
    one, _ = run(data, tmp_path / "one", **options)
    assert one["epochs"]["run"] < 9
    killed(data, tmp_path / "two", 6 * one["epochs"]["kept"] + 4, monkeypatch, **options)
    run(data, tmp_path / "two", resume=True, **options)
    assert_same_outcome(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_checkpoints_are_written_by_steps_and_by_time(data, tmp_path, monkeypatch):
    numbers = []
    write = checkpoint_file.write
    monkeypatch.setattr(checkpoint_file, "write", lambda folder, n, *rest: (numbers.append(n), write(folder, n, *rest)))
    run(data, tmp_path / "steps", checkpoint_steps=4, checkpoint_minutes=0.0, epochs=2)
    assert numbers == [4, 6, 10, 12]
    numbers.clear()
    run(data, tmp_path / "none", checkpoint_steps=0, checkpoint_minutes=0.0, epochs=1)
    assert numbers == [6]
    numbers.clear()
    run(data, tmp_path / "time", checkpoint_steps=0, checkpoint_minutes=1e-9, epochs=1)
    assert numbers == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_nothing_that_is_written_can_run(whole, begun_run):
    files = [path for out in (begun_run, whole[0]) for path in out.rglob("*") if path.is_file()]
    assert any(path.suffix == ".checkpoint" for path in files)
    for path in files:
        content = path.read_bytes()
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".pt")
        assert content[:1] != b"\x80" or content[1] > 5, path  # PROTO and a protocol number
        if content:  # protocol 0 has no such mark: nothing reads as a pickle to its end
            with pytest.raises(Exception):  # noqa: B017, PT011 - pickletools raises several kinds
                list(pickletools.genops(content))
        for name, member in members(path):
            assert member[:1] != b"\x80", (path, name)


def members(path):
    """The files in a zip, which model.keras is."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]
