"""The steps of `prepare` beside the job itself."""

import contextlib
import threading

import pytest

from pipelines.config import PrepareConfig
from pipelines.core import elements
from pipelines.job import prepare
from pipelines.job.results import accounting
from pipelines.work_dir import Work
from pipelines.workers.pool import Outcome


class NeverEnds:
    """Workers that take each request and give no answer."""

    def held(self):
        return contextlib.nullcontext()

    def __init__(self):
        self.asked = threading.Event()

    def submit(self, task, shared, items):
        if task == "run_analysis":
            self.asked.set()
        return [Outcome()]


def test_a_run_that_fails_does_not_wait_for_its_analysis(tmp_path, monkeypatch):
    analyst = NeverEnds()
    monkeypatch.setattr(prepare.pool, "shared", lambda *_: analyst)
    monkeypatch.setattr(accounting, "is_planned", lambda _: True)
    monkeypatch.setattr(accounting, "read_plan", lambda _: None)
    monkeypatch.setattr(prepare.plans, "shard_names", lambda *_: {elements.TRAIN_SPLIT: []})
    monkeypatch.setattr(accounting, "are_staged", lambda *_: True)
    config = PrepareConfig(input="in", output="out", size=(8, 8))
    ended = threading.Event()

    def interrupted():
        with prepare._analysis(config, Work(str(tmp_path))):
            assert analyst.asked.wait(30)
            raise KeyboardInterrupt

    def run():
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(30)
