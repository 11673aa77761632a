"""Prepares a dataset: checks the options, runs the jobs, counts, publishes.

The command line and the tests call `prepare(config)`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pipelines import contract as contracts
from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.contract import Contract, ledger
from pipelines.core import elements, errors
from pipelines.core.console import progress
from pipelines.core.files import members, wildcards
from pipelines.core.summary import Summary
from pipelines.dataset import earlier_dataset
from pipelines.images import file_reader
from pipelines.images.source_policy import DATA, stated
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec
from pipelines.job import pipeline, worker_versions
from pipelines.job.results import accounting, fold_file, publish
from pipelines.job.transform.analysis import Analysis
from pipelines.options import config_fields
from pipelines.plan import balance
from pipelines.plan import plan as plans
from pipelines.records import shard_writer
from pipelines.runners import portable
from pipelines.runners import runner as engine
from pipelines.storage import remote
from pipelines.workers import pool
from pipelines.workers.worker_process import TaskLostError

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # between checks whether the train shards are staged
REMOTE_POLL_SECONDS = 10.0  # in a bucket, where each check costs a few paid requests


@dataclasses.dataclass(frozen=True)
class Result:
    """Holds the contract and the summary of a dataset that `prepare` has published."""

    contract: Contract
    summary: Summary


def prepare(
    config: PrepareConfig,
    beam_flags: Sequence[str] = (),
    runner: str = "DirectRunner",
    reading: listing.Reading | None = None,
) -> Result:
    """Prepares a dataset; returns when the complete dataset is in `config.output`.

    Example:
      >>> config = PrepareConfig(input="photos", output="dataset", size=(64, 64))
      >>> result = prepare(config)
      >>> result.contract.labels
      ('cat', 'dog')

    Args:
      beam_flags: options of Beam, such as "--s3_endpoint_url=...".
      runner: name of the Beam runner.
      reading: how the input is read, if `listing.check` has found it out already.

    Raises:
      ConfigError, SourceError, BalanceError: the options or the input cannot be used; nothing was changed.
      BusyError: another run uses the output; nothing was changed.
      DataRejectedError: too much of the input is bad; nothing was published.
      IncompleteError: the runner ended without all results; nothing was published.
      EngineError: an engine outside of this process gave up; nothing was published.
    """
    started = time.monotonic()
    remote.use(beam_flags)
    source, output = engine.located(config.input, config.output, runner)
    config = dataclasses.replace(config, input=source, output=output, name=config.dataset_name)
    engine.check_buckets(output, runner, beam_flags)
    reading = _checked(config, reading)
    work_dir.check_output(output, source)
    old = None
    if config.like:
        config = dataclasses.replace(config, like=engine.located_dataset(config.like, runner))
        old = _earlier(config)
    if runner not in engine.SERVICES:
        pool.decoders(config.workers, source)  # workers load TensorFlow while this process loads the rest
    with work_dir.locked(output), engine.started(runner, beam_flags, output) as the_engine:
        made_by = worker_versions.here()
        work = work_dir.open_work(output, config.digest(), config.settings(), config_fields.decisive(config), made_by)
        _log.info("Runs on %s.", the_engine.name)
        if advice := portable.wide(runner, beam_flags, pool.usual_count(config.workers)):
            _log.info("%s", advice)
        _tell_replaced(output, config.digest())
        if config.bit_depth == DATA:
            config = _with_range(config, reading.spec, work, the_engine)
        try:
            _run_jobs(config, reading.spec, work, the_engine, old)
        except errors.NothingUsableError as e:
            raise errors.NothingUsableError(_with_cause(str(e), config, reading.spec)) from e
        return _publish(config, reading, work, the_engine.name, started, old)


def _checked(config: PrepareConfig, reading: listing.Reading | None) -> listing.Reading:
    """Checks the input, and returns how it is read.

    Args:
      reading: what an earlier check found; None: there was none.
    """
    if reading is None:
        reading = listing.check(config.input_spec, config.allow_lost_classes)
    reading = reading._replace(spec=dataclasses.replace(reading.spec, path=config.input))
    if config.counts and not storage.is_remote(config.input):
        balance.check_counts(config.counts, listing.labels(reading), config.input)
    for sentence in reading.told:
        _log.info("%s", sentence)
    return reading


def _earlier(config: PrepareConfig) -> Contract:
    """Checks the dataset of --like, and returns its contract."""
    old = earlier_dataset.open_dataset(config.like, config.output)
    earlier_dataset.check(config.like, old, config_fields.decisive(config), config.classes)
    _log.info("%s", earlier_dataset.describe(config.like, old))
    return old


def _publish(
    config: PrepareConfig,
    reading: listing.Reading,
    work: work_dir.Work,
    runner: str,
    started: float,
    old: Contract | None,
) -> Result:
    """Checks and counts what the jobs have written, and publishes it.

    Args:
      runner: the name of the engine that ran the jobs. started: of `time.monotonic`, when the run began.
      old: the contract of the dataset of --like.
    """
    plan = accounting.read_plan(work)
    seconds = time.monotonic() - started
    speed = sum(plan.records.values()) / seconds
    engine_facts = {"runner": runner, "seconds": seconds, "images_per_second": speed}
    summary, totals = accounting.summarize(config, reading, work, plan, engine_facts, old)
    rejected = work.path(ledger.REJECTED)
    accounting.check_rejects(summary, config.max_reject_rate, rejected, config.allow_lost_classes)
    made = publish.make_contract(config, work, plan, summary, totals, old)
    folds = fold_file.make(config.division, config.dataset_name, plan, totals)
    return Result(publish.publish(config.output, work, made, summary, totals.ledgers, folds), summary)


def _tell_replaced(output: str, digest: str) -> None:
    """Says that the output has a dataset that the new one will replace.

    One of the same options and inputs is left out.
    """
    try:
        old = contracts.load(output, storage.reading_text)
    except errors.ContractError:  # there is none, or one that nobody can read
        return
    if old.config_digest != digest:
        height, width, channels = old.image_shape
        _log.warning(
            "%r holds a dataset of other options or inputs (%d x %d x %d, %s), which is replaced at the end.",
            output, height, width, channels, old.encoding,
        )  # fmt: skip


def _with_range(
    config: PrepareConfig, spec: InputSpec, work: work_dir.Work, the_engine: engine.Engine
) -> PrepareConfig:
    """Returns the configuration with the range of deep pixels that the images have."""
    progress.begin("measuring", 0)
    with progress.shown():
        job = the_engine.new_job()
        pipeline.measure(job, config, spec, work)
        the_engine.finish(job)
    found = json.loads(storage.read_text(work.path(work_dir.VALUE_RANGE)))
    if not found:
        _log.info("No image has more than 8 bits a channel: --bit-depth data changes nothing.")
        return dataclasses.replace(config, bit_depth="")
    [(low, high)] = found
    depth = stated(low, high if high > low else low + 1)
    _log.info("The images with more than 8 bits a channel have the values %s.", depth)
    return dataclasses.replace(config, bit_depth=depth)


def _with_cause(message: str, config: PrepareConfig, spec: InputSpec) -> str:
    """Returns the message behind the reason why the first input cannot be used.

    That comes first, because it names what has to be changed, such as an option that does not fit the images.
    """
    if storage.is_remote(config.input):
        return message
    some = itertools.islice(listing.list_sources(spec), listing.LOOKED_AT)
    first = min((item for item in some if isinstance(item, elements.Source)), default=None)  # by key
    if first is None:
        return message
    [found] = file_reader.sizes([first.uri], config.limits, config.source_policy)
    if not isinstance(found, file_reader.Refused):
        return message
    cause = f"No image can be used. The first, {members.readable(first.uri)!r}, is a reject: {found.reason}. "
    return f"{cause}{found.detail} {message}"


def _run_jobs(
    config: PrepareConfig, spec: InputSpec, work: work_dir.Work, the_engine: engine.Engine, old: Contract | None
) -> None:
    """Executes the jobs that write the finished shards below `work`.

    It also writes the scale and the offset that normalize the pixels to work_dir.AFFINE.
    """
    progress.begin("reading", 0)
    staged = None if the_engine.counts_here else lambda: accounting.staged(config.dataset_name, work)
    with progress.shown(shards=staged, pause=_pause(work)), _analysis(config, work, old) as affine_of_train:
        job = the_engine.new_job()
        pipeline.write(job, config, spec, work, old)
        the_engine.finish(job)
        affine = affine_of_train()
        storage.write_text(work.path(work_dir.AFFINE), json.dumps(affine))
        if config.encoding in shard_writer.FLOATS:
            job = the_engine.new_job()
            pipeline.normalize(job, config, work, affine)
            the_engine.finish(job)


@contextlib.contextmanager
def _analysis(
    config: PrepareConfig, work: work_dir.Work, old: Contract | None = None
) -> Iterator[Callable[[], elements.Affine]]:
    """Executes the job of TensorFlow Transform in a process of its own.

    The process builds the job at once and runs it when the train shards are staged; the job that decodes the other
    splits is still running then. Yields a function that waits for the (scale, offset) of the analysis. Call it when
    all shards are staged. Where the body fails or is interrupted, nothing waits for the end of the analysis.
    """
    analyst = pool.shared(1, "analyst", work.root)
    ended = threading.Event()  # set when the job that stages shards has ended, with or without success
    given_up = threading.Event()  # set when nobody needs the analysis any more
    with analyst.held(), _local(work) as folder, concurrent.futures.ThreadPoolExecutor(1, "analysis") as thread:
        affine = None if old is None else (old.normalization.scale, old.normalization.offset)
        analysis = Analysis(
            config.dataset_name, config.record_spec, config.normalize, work, folder, affine, config.task,
            len(config.target),
        )  # fmt: skip
        analyst.submit("build_analysis", (), [(analysis,)])
        analyzed = thread.submit(_analyze, analyst, analysis, ended, given_up)

        def wait() -> elements.Affine:
            ended.set()
            return analyzed.result()

        try:
            yield wait
        finally:
            given_up.set()
            ended.set()


@contextlib.contextmanager
def _local(work: work_dir.Work) -> Iterator[str]:
    """Yields a local folder for the files that TensorFlow writes.

    It is the work directory if that is local and TensorFlow finds files in it, and a temporary folder otherwise.
    """
    if not storage.is_remote(work.root) and not wildcards.are_in(work.root):
        yield work.root
        return
    with tempfile.TemporaryDirectory(prefix="shardmill-", ignore_cleanup_errors=True) as folder:
        yield folder


def _analyze(
    analyst: pool.Workers, analysis: Analysis, ended: threading.Event, given_up: threading.Event
) -> elements.Affine:
    work = analysis.work

    def wait_for(done: Callable[[], bool]) -> None:
        look = time.monotonic()
        while not _asked(done, work, ended.is_set()):
            # Checking many shards, or remote ones, takes long: spend at most a tenth of the time on it.
            pause = max(_pause(work), 9 * (time.monotonic() - look))
            if ended.wait(pause) and not done():
                raise errors.IncompleteError("The job ended without all shards of split train. Run it again.")
            look = time.monotonic()

    wait_for(lambda: accounting.is_planned(work))
    train = plans.shard_names(accounting.read_plan(work), analysis.dataset)[elements.TRAIN_SPLIT]
    wait_for(lambda: accounting.are_staged(train, work))
    [analyzed] = analyst.submit("run_analysis", (), [(analysis,)])
    while not given_up.is_set() and not analyzed.wait(POLL_SECONDS):
        pass
    try:
        affine: elements.Affine = analyzed.result(0)
    except TimeoutError:
        raise errors.IncompleteError("The run was given up before its analysis ended.") from None
    except TaskLostError as e:
        raise errors.IncompleteError(
            "The process of the analysis ended: it was killed or ran out of memory. Run the same command again: it "
            "continues from there."
        ) from e
    return affine


def _asked(done: Callable[[], bool], work: work_dir.Work, last: bool) -> bool:
    """Returns `done()`, or False if a bucket fails to answer while the job runs.

    The job may run for hours, so the caller asks again later. With `last`, or a local work directory, the error is
    raised.
    """
    try:
        return done()
    except Exception:  # each remote client raises its own types
        if last or not storage.is_remote(work.root):
            raise
        return False


def _pause(work: work_dir.Work) -> float:
    return REMOTE_POLL_SECONDS if storage.is_remote(work.root) else POLL_SECONDS
