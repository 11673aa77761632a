"""Runs the job: check, build, run, count, publish. `prepare(config)` is what the command line and tests call."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence

import apache_beam as beam
import tensorflow_transform.beam as tft_beam

from pipelines import contract as contracts
from pipelines import engine, listing, pipeline, progress, publish, shards, stages, storage, tally
from pipelines.config import ConfigError, PrepareConfig
from pipelines.contract import Contract
from pipelines.summary import Rejected, Summary

_log = logging.getLogger(__name__)

# Parts of the work directory that a rerun must not find: their number differs from run to run.
_LINES = ("rejects", "duplicates", "unused", "transform", "tft", "beside", "plan.json", stages.LISTED)


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
    options = engine.options(beam_flags)
    the_runner, runner_name = engine.runner(runner)
    work = _open_work(config)
    _log.info("Runs on %s.", runner_name)
    progress.begin("reading", 0)
    with progress.shown():
        job = beam.Pipeline(runner=the_runner, options=options)
        with tft_beam.Context(temp_dir=work.path("tft")):
            pipeline.build(job, config, work)
            job.run().wait_until_finish()
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


def _open_work(config: PrepareConfig) -> shards.Work:
    """The work directory: a new one, or that of an interrupted run with the same options, whose shards are kept."""
    out = config.output
    present = storage.children(out)
    if present and not {contracts.FILE_NAME, shards.Work.DIRECTORY} & set(present):
        raise ConfigError(
            f"--output {out!r} is not empty and holds no Shardmill dataset. Name a new folder, or empty this one."
        )
    work = shards.Work(storage.join(out, shards.Work.DIRECTORY))
    note, digest = work.path("run.json"), config.digest()
    if shards.Work.DIRECTORY in present:
        before = _earlier_digest(note)
        if before == digest:
            _log.info("Goes on with an interrupted run: shards that are done stay.")
            for name in _LINES:
                storage.remove(work.path(name))
        else:
            _log.info("An interrupted run with other options is thrown away: it cannot be gone on with.")
            storage.remove(work.root)
    storage.make_directory(work.root)
    storage.write_text(note, json.dumps({"config_digest": digest}))
    return work


def _earlier_digest(note: str) -> str:
    try:
        return str(json.loads(storage.read_text(note))["config_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _keep_rejects(work: shards.Work, rejected: Sequence[Rejected]) -> str:
    """Writes the rejects where they can be read even if nothing is published; returns the path."""
    path = work.path("rejected.jsonl")
    storage.write_text(path, "".join(json.dumps(dataclasses.asdict(r), ensure_ascii=False) + "\n" for r in rejected))
    return path
