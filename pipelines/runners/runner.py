"""Chooses the Beam runner of the jobs, and checks Beam's own options.

Since Beam 2.68 the name DirectRunner prefers Prism, a Go program that is downloaded, and falls back silently. Here it
means the in-process FnApiRunner: no network, and all cores are used through the worker processes. `portable.py`
states what Flink, Spark and Prism need, `dataflow.py` states what Dataflow needs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines import storage
from pipelines.core.console import terminal
from pipelines.core.errors import ConfigError, EngineError
from pipelines.runners import dataflow, job_server, portable, signatures
from pipelines.runners.portable import LOCAL

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

SERVICES = (dataflow.RUNNER,)  # their workers cannot see this machine, and it decodes nothing
REFUSED = {"DaskRunner": "it reports DONE and leaves empty files (Beam 2.77)"}
TERMINATED = 128 + signal.SIGTERM  # the exit status of a program that SIGTERM ended

_jobs: weakref.WeakSet[beam.Pipeline] = weakref.WeakSet()  # those that `empty_job` made
_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Engine:
    """Holds a runner that is ready; its jobs share its job server, if it has one.

    name: the engine that is really used, for the log and the report.
    counts_here: whether `progress.advance` in a stage reaches this process.
    log: the file with the output of the job server or the service; "" where there is none.
    """

    name: str
    counts_here: bool
    log: str
    _runner: Any
    _options: PipelineOptions

    def new_job(self) -> beam.Pipeline:
        """Returns an empty job for this engine."""
        return empty_job(self._runner, self._options)

    def finish(self, job: beam.Pipeline) -> None:
        """Executes a job to its end.

        Where this program is interrupted or terminated, the job is cancelled.

        Raises:
          EngineError: the job failed on the engine. Its cause may be one of our own errors, as a text.
        """
        try:
            result = self._begin(job)
            try:
                result.wait_until_finish()
            except (KeyboardInterrupt, SystemExit):
                with contextlib.suppress(Exception):  # an error here must not hide the interrupt
                    result.cancel()
                raise
        except Exception as e:
            if not self.log:  # the job was in this process: the error is the stage's own
                raise
            raise EngineError(
                f"{self.name} gave up the job: {job_server.reason(e)} Its log is {self.log}. Run the same "
                "command again: it continues from there."
            ) from e

    def _begin(self, job: beam.Pipeline) -> Any:
        """Executes the job, or starts it on an engine.

        `wait_until_finish` of the result waits for its end.
        """
        if self.name not in SERVICES:
            return job.run()
        with terminal.stderr_held(native_only=True):  # output of pip and of the program that builds the package
            result = job.run()
        _log.info("The job: %s", dataflow.page(result.job_id(), self._options))
        return result


def empty_job(the_runner: Any, beam_options: PipelineOptions) -> beam.Pipeline:
    """Returns an empty job.

    Beam makes a temporary folder for each job, for transforms of other languages, and removes it when the job has
    ended in the regular way. We have no such transforms, so it is removed at once: a killed program leaves none.
    """
    import apache_beam as beam

    signatures.remember()
    job = beam.Pipeline(runner=the_runner, options=beam_options)
    _keep_labels(job)
    shutil.rmtree(job.local_tempdir, ignore_errors=True)
    return job


@contextlib.contextmanager
def started(name: str, flags: Sequence[str], output: str = "") -> Iterator[Engine]:
    """Yields the engine of that name, with its job server running meanwhile.

    Args:
      output: the output of the dataset, after which a service names the jobs.

    Raises:
      ConfigError: the runner is refused, Beam has no such runner, or something that it needs is missing.
    """
    complete = completed(name, flags, output)
    beam_options = options(complete, name)
    the_runner, shown = runner(name)
    here = portable.counts_here(name, complete)
    if name in LOCAL:
        yield Engine(shown, here, "", the_runner, beam_options)
        return
    with job_server.log_file() as log, _terminable(), job_server.started(the_runner, beam_options, log):
        yield Engine(shown, here, log, the_runner, beam_options)
    os.unlink(log)  # the log is kept where the body failed


def completed(name: str, flags: Sequence[str], output: str = "") -> list[str]:
    """Returns `flags` and the flags that the runner of that name needs in addition.

    See `portable.complete` and `dataflow.complete`.
    """
    return dataflow.complete(flags, output) if name in SERVICES else portable.complete(name, flags)


def located(source: str, output: str, name: str) -> tuple[str, str]:
    """Returns the input and the output as paths that mean the same to the runner.

    Raises:
      ConfigError: a path is on this machine, and the engine cannot see it.
    """
    if name in LOCAL:
        return source, output
    if name in SERVICES:
        dataflow.check_paths(source, output)
    absolute = [path if storage.is_remote(path) else os.path.abspath(path) for path in (source, output)]
    return absolute[0], absolute[1]


def located_dataset(like: str, name: str) -> str:
    """Returns the dataset of --like as a path that means the same to the runner.

    Raises:
      ConfigError: it is on this machine, and the engine cannot see it.
    """
    if name in LOCAL or storage.is_remote(like):
        return like
    if name in SERVICES:
        dataflow.check_path("--like", like)
    return os.path.abspath(like)


def check_buckets(output: str, name: str, flags: Sequence[str]) -> None:
    """Raises ConfigError for a bucket that a service cannot use.

    It does nothing for runners that are not a service.
    """
    if name in SERVICES:
        from apache_beam.io.filesystems import FileSystems

        FileSystems.set_options(options(flags))  # these name the credentials to use
        dataflow.check_buckets(output, flags)


def options(flags: Sequence[str], runner_name: str = "") -> PipelineOptions:
    """Returns Beam's options from the command line's remaining flags.

    Args:
      runner_name: the runner that they are for.

    Raises:
      ConfigError: Beam does not know a flag (Beam itself only warns), or a flag has a bad value.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipelines.runners.beam_options import BeamOptions

    parser = _Parser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(flags))
    if unknown:
        raise ConfigError(
            f"Unknown option {unknown[0]!r}: neither `prepare` nor Apache Beam has it. See `prepare --help`; Beam's "
            "options are at https://beam.apache.org/documentation/programming-guide/#configuring-pipeline-options."
        )
    kind = BeamOptions
    if runner_name in SERVICES:
        from pipelines.runners import dataflow_request

        dataflow_request.hide_paths()
        kind = dataflow_request.SentOptions
    # The graph is fixed and tested. To infer its types again in every run would take half a second.
    return kind(list(flags), pipeline_type_check=False)


def check_runner(name: str) -> None:
    """Raises ConfigError for a runner that is known to fail.

    It imports nothing.
    """
    if name in REFUSED:
        raise ConfigError(
            f"--runner {name} is refused: {REFUSED[name]}. Use DirectRunner, FlinkRunner, SparkRunner, "
            "PrismRunner or DataflowRunner."
        )


def runner(name: str) -> tuple[Any, str]:
    """Returns the runner for beam.Pipeline, and the name of the engine that is used.

    Raises:
      ConfigError: the runner is refused, or Beam has no such runner.
    """
    check_runner(name)
    if name in LOCAL:
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        return FnApiRunner(), "FnApiRunner (in this process)"
    from apache_beam.runners.runner import create_runner

    try:
        return create_runner(name), name
    except (ValueError, ImportError, AttributeError) as e:
        raise ConfigError(
            f"--runner {name!r} cannot be used: {str(e).rstrip('.')}. DirectRunner runs in this process."
        ) from e


def _keep_labels(job: beam.Pipeline) -> None:
    """Keeps Beam from changing the labels of a job inside IPython.

    There, Beam puts the number of the notebook's cell before each label. For this it imports its module of data frames,
    which cannot be imported with pandas 3 (Beam 2.77). Other pipelines of the program are left to Beam.
    """
    from apache_beam import pipeline
    from apache_beam.utils import interactive_utils

    def alter(transform: Any, source: Any) -> None:
        sources = list(source.values()) if isinstance(source, dict) else source
        first = sources[0] if isinstance(sources, list | tuple) and sources else sources
        if first not in _jobs and getattr(first, "pipeline", None) not in _jobs:
            interactive_utils.alter_label_if_ipython(transform, source)

    _jobs.add(job)
    pipeline.alter_label_if_ipython = alter


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end the program as an error does.

    The job and the job server then end, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"A Beam option cannot be used: {message}.")
