"""What the workers of a cluster have to agree on, and which of them reports."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import pytest

from pipelines import contract as contracts
from tests.support.datasets import write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.devices import cluster
from trainer.training import resume


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "data"
    write_dataset(path, encoding="uint8")
    return path


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
             '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}'],
)  # fmt: skip
def test_a_cluster_that_is_not_told_is_refused(text):
    with pytest.raises(TrainerError, match="--strategy multiworker needs TF_CONFIG in the environment of each worker"):
        cluster.hosts(text)


def test_the_addresses_are_those_of_the_chief_and_the_workers():
    text = '{"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 1}}'
    assert cluster.hosts(text) == ["a:1", "b:1", "c:1"]


class Workers:
    """As many workers as configs are given; each thinks that it is the first."""

    def __init__(self, monkeypatch, data, *configs, steps=(0, 0), **changed):
        self.num_replicas_in_sync, sent = len(configs), []
        self.contract, self.changed = contracts.load(data), changed
        monkeypatch.setattr(cluster, "workers", lambda used: (0, len(configs)))
        monkeypatch.setattr(cluster, "_sum", lambda used, values: sent.append(values) or values)
        for config, step in zip(configs, steps, strict=True):
            with contextlib.suppress(TrainerError):
                self.agree(config, step, **(changed if sent else {}))
        total = np.sum(sent, axis=0).tolist()
        monkeypatch.setattr(cluster, "_sum", lambda used, values: total)

    def agree(self, config, step=0, **changed):
        cluster.agree(self, config, resume.fingerprint(config, self.contract, 2) | changed, step)


def test_workers_that_were_started_otherwise_are_refused_by_name(data, monkeypatch):
    def config(**changes):
        return TrainConfig(str(data), "o", strategy="multiworker", **changes)

    own = config()
    Workers(monkeypatch, data, own, config(verify="off")).agree(own)  # an option that changes nothing
    with pytest.raises(
        TrainerError, match=r"These differ on another worker: --learning-rate \(here 0\.001\)\. Start all"
    ):
        Workers(monkeypatch, data, own, config(learning_rate=1e-4)).agree(own)
    with pytest.raises(TrainerError, match=r"worker: --steps-per-execution \(here 0\), --checkpoint-steps \(here 0\)"):
        Workers(monkeypatch, data, own, config(steps_per_execution=4, checkpoint_steps=2)).agree(own)
    with pytest.raises(TrainerError, match="another worker: the dataset, versions of libraries"):
        Workers(monkeypatch, data, own, own, dataset="another", versions={"keras": "0"}).agree(own)
    with pytest.raises(TrainerError, match=r"found different checkpoints \(this one begins at step 8\)"):
        Workers(monkeypatch, data, own, own, steps=(8, 4)).agree(own, 8)


@pytest.mark.parametrize("number", [0, 1])
def test_only_the_first_worker_reports(monkeypatch, caplog, number):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cluster, "workers", lambda used: (number, 2))
    log = logging.getLogger("trainer.training.epoch_reports")
    with contextlib.suppress(KeyError), cluster.only_first_reports(None):
        log.info("epoch 1/3")
        log.warning("it may be slow")
        raise KeyError
    log.info("after it")
    said = ["worker 2 of 2: the first one reports and writes"] if number else ["epoch 1/3", "it may be slow"]
    assert caplog.messages == [*said, "after it"]
