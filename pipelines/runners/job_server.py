"""Starts Beam's job server of an engine, and keeps what it says in a file.

A job server is a Java or Go program. It takes jobs for Flink, Spark or Prism.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import EngineError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

# The names of Beam's loggers for the output of job servers and the messages of Dataflow.
_SERVERS = ("FlinkJarJobServer", "SparkJarJobServer", "PrismJobServer", "apache_beam.runners.dataflow")


@contextlib.contextmanager
def started(the_runner: Any, beam_options: PipelineOptions, log: str) -> Iterator[None]:
    """Starts the runner's job server once for all jobs; Beam would start one for each.

    Raises:
      EngineError: the job server did not start.
    """
    from apache_beam.options.pipeline_options import PortableOptions

    if not hasattr(the_runner, "default_job_server") or beam_options.view_as(PortableOptions).job_endpoint:
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    server = the_runner.default_job_server(beam_options)
    try:
        server.start()
    except Exception as e:
        raise EngineError(f"The job server did not start: {reason(e)} Its log is {log}.") from e
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)  # Beam's handler would end the server before the job can be cancelled
    the_runner.default_job_server = lambda _: server
    try:
        yield
    finally:
        server.stop()


@contextlib.contextmanager
def log_file() -> Iterator[str]:
    """Yields a file that receives the output of the job server and its engine.

    It also receives the messages of them that Beam passes on, which are pages of Java output.
    """
    descriptor, path = tempfile.mkstemp(prefix="shardmill-engine-", suffix=".log")
    os.close(descriptor)
    handler = logging.FileHandler(path, encoding="utf-8", errors="replace")
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in _SERVERS]
    before = [(logger.level, logger.propagate) for logger in loggers]

    def aside(record: logging.LogRecord) -> bool:  # Beam logs the job's messages with the root logger
        if record.module not in ("portable_runner", "subprocess_server"):
            return True
        handler.emit(record)
        return False

    root.addFilter(aside)
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield path
    finally:
        root.removeFilter(aside)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def reason(error: BaseException) -> str:
    """Returns the reason that an engine gives for a failure, as a sentence.

    It is the Python error that the engine passes on, or else the first line of the engine's own message.
    """
    said, _, traceback = str(error).partition("Traceback")
    raised = [line for line in traceback.splitlines() if re.match(r"[A-Za-z_][\w.]*: ", line)]
    lines = [line.strip() for line in (raised[-1:] or said.splitlines()) if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if text.endswith("Error:") and len(lines) > 1:  # Dataflow states the cause after this line
        text = f"{text} {lines[-1]}"
    return text[:400].rstrip(".") + "."
