"""Prints the programs' logs, and keeps notices of libraries off the terminal."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO


def set_up() -> None:
    """Sets the environment of a preparing process, and the logging of its libraries.

    Call it before TensorFlow is imported. A preparing program uses the CPU only: it must not take GPU memory from a
    trainer that runs at the same time. oneDNN is switched off because its results depend on the processor, and shards
    must not.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a damaged image is a reject; its decoder should print nothing
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TensorFlow Transform loads this Keras anyway; avoid a second one
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO)  # a worker of an engine hands its lines on to the engine
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # the command itself reports a failure, once
    logging.getLogger("absl").setLevel(logging.ERROR)  # hides TFT's advice for large analyses; ours is tiny


class _Lines(logging.Handler):
    """Prints each record as a plain line, as `print(line, flush=True)` does."""

    def __init__(self, stream: Callable[[], TextIO], lossy: bool = False) -> None:
        """Keeps where to print.

        Args:
          stream: returns where to print now: sys.stdout and sys.stderr can be replaced at any time.
          lossy: whether a line that cannot be written is dropped. Otherwise the error ends what logged the line, as
            `print` would: so `train | head` ends, and a full disk is told.
        """
        super().__init__()
        self._stream, self._lossy = stream, lossy

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the text of the record, after "warning: " if it is a warning."""
        text = f"warning: {self.format(record)}" if record.levelno == logging.WARNING else self.format(record)
        try:
            print(text, file=self._stream(), flush=True)
        except OSError:
            if not self._lossy:
                raise


def log_printed() -> contextlib.AbstractContextManager[None]:
    """Prints what both programs log while the body runs, and nothing twice.

    What `prepare` logs goes to stderr, because its result goes to stdout. The progress of the trainer and of the worker
    pool goes to stdout. The loggers of other libraries and of the user's own code stay as they are.
    """
    stderr, stdout = _Lines(lambda: sys.stderr, lossy=True), _Lines(lambda: sys.stdout)
    return _handled({"pipelines": stderr, "pipelines.beam_workers": stdout, "trainer": stdout})


def log_written(file: TextIO) -> contextlib.AbstractContextManager[None]:
    """Writes what the trainer logs while the body runs to a file, and nowhere else."""
    return _handled({"trainer": _Lines(lambda: file)})


@contextlib.contextmanager
def _handled(handlers: Mapping[str, logging.Handler]) -> Iterator[None]:
    """Gives each logger one handler, from INFO on, while the body runs.

    The records do not go on to the root logger: if the user configured it, each line would be printed twice.
    """
    loggers = {name: logging.getLogger(name) for name in handlers}
    before = {name: (logger.level, logger.propagate, logger.handlers) for name, logger in loggers.items()}
    for name, logger in loggers.items():
        logger.setLevel(logging.INFO)
        logger.propagate, logger.handlers = False, [handlers[name]]
    try:
        yield
    finally:
        for name, logger in loggers.items():
            level, logger.propagate, logger.handlers = before[name]
            logger.setLevel(level)


@contextlib.contextmanager
def stderr_held(native_only: bool = False) -> Iterator[None]:
    """Holds back the output to file descriptor 2; shows it only if the body fails.

    It is for libraries that write there whatever the log level is: TensorFlow while it loads, and libtiff and libjpeg
    about a damaged file. It affects the complete process, including other threads and child processes.

    Args:
      native_only: Whether to let pass what Python writes to sys.stderr, such as another thread's progress. Do not use
        it for imports: a logging handler that keeps this sys.stderr cannot write to it after the body.
    """
    python = sys.stderr
    python.flush()
    with (
        open(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as shown,
        tempfile.TemporaryFile() as held,
    ):
        if native_only and _writes_to_descriptor_2(python):
            sys.stderr = shown
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # not where the user interrupts the body: the notices say nothing about that
            python.flush()
            held.seek(0)
            shown.write(held.read().decode("utf-8", "replace"))
            raise
        finally:
            python.flush()
            os.dup2(shown.fileno(), 2)
            sys.stderr = python


def import_tensorflow() -> None:
    """Imports TensorFlow and makes it look for devices, without its notices."""
    with silent_imports():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Disables garbage collection while the body imports modules.

    Imports produce no garbage, and the search for it takes an eighth of their time. Objects that exist at the end of
    the body are kept for good, and later collections skip them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def without_keras() -> Iterator[None]:
    """Has the body import TensorFlow without Keras, which takes half of its time.

    `import keras` and `tf.keras` work after it as ever.
    """
    blocked = [name for name in ("keras", "tf_keras") if name not in sys.modules]
    modules: dict[str, object] = sys.modules  # type: ignore[assignment] # None makes an import raise ImportError
    modules.update(dict.fromkeys(blocked))
    try:
        yield
    finally:
        for name in blocked:
            if modules.get(name, name) is None:
                del modules[name]


@contextlib.contextmanager
def loading_shown() -> Iterator[None]:
    """Says on a terminal that libraries are loading while the body imports them.

    It takes seconds. The line is removed at the end.
    """
    out = sys.stderr
    if not bool(getattr(out, "isatty", lambda: False)()):
        yield
        return
    lossy = contextlib.suppress(OSError)  # nobody reads it; the program goes on
    with lossy:
        print("The libraries are loading ...", end="", file=out, flush=True)
    try:
        yield
    finally:
        with lossy:
            print("\r\033[K", end="", file=out, flush=True)  # to the beginning of the line, which is cleared


@contextlib.contextmanager
def silent_imports() -> Iterator[None]:
    """Does what the other three do while the body imports modules."""
    with loading_shown(), stderr_held(), quick_imports():
        yield


def _writes_to_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # a stream in memory, of a notebook or of a test
        return False
