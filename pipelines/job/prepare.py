"""Runs the jobs: check, build, run, count, publish. `prepare(config)` is what the command line and tests call."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.contract import Contract
from pipelines.core import elements, errors, progress
from pipelines.core.summary import Summary
from pipelines.inputs import listing
from pipelines.job import accounting, pipeline, publish
from pipelines.plan import plan as plans
from pipelines.records import ledger, shard_writer
from pipelines.runners import runner as engine
from pipelines.storage import remote
from pipelines.workers import pool

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # between looks whether the train shards are staged
REMOTE_POLL_SECONDS = 10.0  # in a bucket, where each look is a few paid requests


@dataclasses.dataclass(frozen=True)
class Result:
    """What `prepare` made."""

    contract: Contract
    summary: Summary


def prepare(config: PrepareConfig, beam_flags: Sequence[str] = (), runner: str = "DirectRunner") -> Result:
    """Prepares a dataset; returns when `config.output` holds it whole.

    Raises:
      ConfigError, SourceError, BalanceError: the options or the input cannot be used; nothing was changed.
      BusyError: another run is at work in the output; nothing was changed.
      DataRejectedError: too much of the input is bad; nothing was published.
      IncompleteError: the runner ended without all results; nothing was published.
      EngineError: an engine outside of this process gave up; nothing was published.
    """
    started = time.monotonic()
    remote.use(beam_flags)
    config = engine.located(config, runner)
    engine.check_buckets(config, runner, beam_flags)
    listing.check(config)
    work_dir.check_output(config)
    if runner not in engine.SERVICES:
        pool.decoders(config)  # they load TensorFlow while this process loads the rest
    with work_dir.locked(config.output), engine.started(runner, beam_flags, config.output) as the_engine:
        work = work_dir.open_work(config)
        _log.info("Runs on %s.", the_engine.name)
        _run_jobs(config, work, the_engine)
        plan = accounting.read_plan(work)
        seconds = time.monotonic() - started
        records = sum(plan.records.values())
        summary, totals = accounting.summarize(
            config, work, plan, {"runner": the_engine.name, "seconds": seconds, "images_per_second": records / seconds}
        )
        accounting.check_rejects(summary, config, work.path(ledger.REJECTED))
        made = publish.make_contract(config, work, plan, summary, totals)
        contract = publish.publish(config, work, made, summary)
    return Result(contract, summary)


def _run_jobs(config: PrepareConfig, work: work_dir.Work, the_engine: engine.Engine) -> None:
    """From the input to finished shards, and the affine that they are normalized by, below `work`."""
    progress.begin("reading", 0)
    staged = None if the_engine.counts_here else lambda: accounting.staged(config, work)
    with progress.shown(shards=staged, pause=_pause(work)), _analysis(config, work) as affine_of_train:
        job = the_engine.new_job()
        pipeline.write(job, config, work)
        the_engine.finish(job)
        affine = affine_of_train()
        storage.write_text(work.path(work_dir.AFFINE), json.dumps(affine))
        if config.encoding in shard_writer.FLOATS:
            job = the_engine.new_job()
            pipeline.normalize(job, config, work, affine)
            the_engine.finish(job)


@contextlib.contextmanager
def _analysis(config: PrepareConfig, work: work_dir.Work) -> Iterator[Callable[[], elements.Affine]]:
    """Transform's job in a process of its own: built at once, run when the train shards are staged.

    The other splits are still decoded then. What is given, called when all shards are staged, waits for the result.
    """
    analyst = pool.shared(1, "analyst", work.root)
    ended = threading.Event()  # the job that stages shards, well or not
    with _local(work) as folder, concurrent.futures.ThreadPoolExecutor(1, "analysis") as thread:
        analyst.submit("build_analysis", (config, work, folder), [()])
        analyzed = thread.submit(_analyze, analyst, config, work, folder, ended)

        def wait() -> elements.Affine:
            ended.set()
            return analyzed.result()

        try:
            yield wait
        finally:
            ended.set()


@contextlib.contextmanager
def _local(work: work_dir.Work) -> Iterator[str]:
    """A local folder for what TensorFlow writes: the work directory's where that is local."""
    if not storage.is_remote(work.root):
        yield work.root
        return
    with tempfile.TemporaryDirectory(prefix="shardmill-") as folder:
        yield folder


def _analyze(
    analyst: pool.Workers, config: PrepareConfig, work: work_dir.Work, folder: str, ended: threading.Event
) -> elements.Affine:
    def wait_for(done: Callable[[], bool]) -> None:
        look = time.monotonic()
        while not _asked(done, work, ended.is_set()):
            # A look at many shards, or at remote ones, takes long: a tenth of the time at most.
            pause = max(_pause(work), 9 * (time.monotonic() - look))
            if ended.wait(pause) and not done():
                raise errors.IncompleteError("The job ended without all shards of split train. Run it again.")
            look = time.monotonic()

    wait_for(lambda: accounting.is_planned(work))
    train = plans.shard_names(accounting.read_plan(work), config)["train"]
    wait_for(lambda: accounting.are_staged(train, work))
    [analyzed] = analyst.submit("run_analysis", (config, work, folder), [()])
    try:
        affine: elements.Affine = analyzed.result()
    except pool.TaskLostError as e:
        raise errors.IncompleteError(
            "The process of the analysis ended: it was killed or ran out of memory. Run the same command again: it "
            "goes on from there."
        ) from e
    return affine


def _asked(done: Callable[[], bool], work: work_dir.Work, last: bool) -> bool:
    """`done()`; but a bucket that does not answer is asked again while the job runs, which may be hours."""
    try:
        return done()
    except Exception:  # each remote client raises its own kinds
        if last or not storage.is_remote(work.root):
            raise
        return False


def _pause(work: work_dir.Work) -> float:
    return REMOTE_POLL_SECONDS if storage.is_remote(work.root) else POLL_SECONDS
