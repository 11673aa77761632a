"""Runs the two jobs: check, build, run, count, publish. `prepare(config)` is what the command line and tests call."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam

from pipelines import console, engine, listing, pipeline, progress, publish, storage, tally, workers, workspace
from pipelines.config import PrepareConfig
from pipelines.contract import Contract
from pipelines.summary import Rejected, Summary

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Result:
    """What `prepare` made."""

    contract: Contract
    summary: Summary


def prepare(config: PrepareConfig, beam_flags: Sequence[str] = (), runner: str = "DirectRunner") -> Result:
    """Prepares a dataset; returns when `config.output` holds it whole.

    Raises:
      ConfigError, SourceError, BalanceError: the options or the input cannot be used; nothing was changed.
      DataRejectedError: too much of the input is bad; nothing was published.
      IncompleteError: the runner ended without all results; nothing was published.
    """
    started = time.monotonic()
    listing.check(config)
    workspace.check_output(config)
    workers.shared(workers.usual_count(config.workers))  # they load TensorFlow while this process loads the rest
    options = engine.options(beam_flags)
    the_runner, runner_name = engine.runner(runner)
    work = workspace.open_work(config)
    _log.info("Runs on %s.", runner_name)
    progress.begin("reading", 0)
    with progress.shown(), ThreadPoolExecutor(1) as beside:
        written = threading.Event()
        built = beside.submit(_finishing_job, config, work, the_runner, options, written)
        try:
            job = beam.Pipeline(runner=the_runner, options=options)
            pipeline.write(job, config, work)
            job.run().wait_until_finish()
        finally:
            written.set()
        built.result().run().wait_until_finish()
    plan = tally.read_plan(work)
    seconds = time.monotonic() - started
    records = sum(plan.records.values())
    summary, rejected, unused = tally.summarize(
        config, work, plan, {"runner": runner_name, "seconds": seconds, "images_per_second": records / seconds}
    )
    tally.check_rejects(summary, config, _keep_rejects(work, rejected))
    contract = publish.make_contract(config, work, plan, summary)
    publish.publish(config, work, contract, summary, rejected, unused)
    return Result(contract, summary)


def _finishing_job(
    config: PrepareConfig, work: workspace.Work, the_runner: object, options: object, written: threading.Event
) -> beam.Pipeline:
    """Imports TensorFlow Transform and builds the second job: as long as decoding some thousands of images takes.

    Not before the plan is made: until then this process has work that decoding waits for, and after it next to none.
    """
    while not written.wait(0.02) and not storage.exists(work.path("plan.json")):
        continue
    with console.quick_imports():
        console.import_tensorflow()
        import tensorflow_transform.beam as tft_beam

    job = beam.Pipeline(runner=the_runner, options=options)
    with tft_beam.Context(temp_dir=work.path("tft")):
        pipeline.finish(job, config, work)
    return job


def _keep_rejects(work: workspace.Work, rejected: Sequence[Rejected]) -> str:
    """Writes the rejects where they can be read even if nothing is published; returns the path."""
    path = work.path("rejected.jsonl")
    storage.write_text(path, "".join(json.dumps(dataclasses.asdict(r), ensure_ascii=False) + "\n" for r in rejected))
    return path
