"""Executes a command in TensorFlow's environment and turns errors into exit codes.

Exit codes: 0 for success, 1 for failure, 2 for wrong usage, 130 for an interrupt. TensorFlow is imported
inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import warnings
from collections.abc import Callable

from pipelines.core import extras, shortage
from pipelines.core.console import interrupts, terminal
from pipelines.core.errors import ShardmillError
from pipelines.core.text import first_line

FAILED = 1
COULD_NOT_TELL = 3  # of the doctor; argparse exits with 2
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
MOST = 2**31 - 1


def guarded(command: str, work: Callable[[], int | None]) -> int:
    """Executes a command and returns its exit code.

    An error that the user can fix becomes one sentence on stderr. Other exceptions keep their traceback.
    """
    # TensorFlow and Keras read these when they are imported. The trainer needs Keras on TensorFlow, and TensorFlow's
    # start-up messages would hide the trainer's own.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = _show_warning
    keep_memory()
    # The doctor logs nothing itself. It runs the user's program, whose own logging must work as it does elsewhere.
    log = contextlib.nullcontext() if command == "doctor" else terminal.log_printed()
    try:
        shortage.check()
        with log:
            return work() or 0
    except ShardmillError as e:
        print(f"{command}: {e}", file=sys.stderr)
        return e.exit_status
    except BrokenPipeError:  # `streams.run` finds out whether the reader of our output has gone
        raise
    except OSError as e:
        told = shortage.told(e) or f"{e.strerror or e}: {e.filename or ''}"
        print(f"{command}: {told}", file=sys.stderr)
    except ModuleNotFoundError as e:
        told = extras.missing(e, "all" if command == "ablate" else "train")
        if not told:
            raise
        print(f"{command}: {told}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return interrupts.STATUS
    except Exception as e:
        if short := shortage.told(e):
            print(f"{command}: {short}", file=sys.stderr)
            return FAILED
        if not _is_bad_data(e):
            raise
        print(
            f"{command}: a shard holds a damaged record ({first_line(e)}): "
            "find it with `python -m pipelines verify DIR` and prepare the dataset again.",
            file=sys.stderr,
        )
    return FAILED


def _is_bad_data(error: Exception) -> bool:
    """Tells whether an error is TensorFlow's for a record that cannot be read.

    Other errors of TensorFlow are defects of the program and keep their traceback.
    """
    errors = sys.modules["tensorflow"].errors if "tensorflow" in sys.modules else None
    if errors is None:
        return False
    if isinstance(error, errors.InvalidArgumentError | errors.FailedPreconditionError):
        return "IteratorGetNext" in str(error)
    return isinstance(error, errors.DataLossError)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, UserWarning):
        with contextlib.suppress(OSError):  # nobody reads it: the library that warns has done nothing wrong
            print(f"warning: {message}", file=sys.stderr)


@functools.cache
def keep_memory() -> None:
    """Makes the C library keep large freed blocks for the next batch.

    It changes the whole process, so only the programs call it, and not the functions that others may use.

    glibc otherwise maps each block of megabytes and returns it to the system, which has to clear every page again. With
    another C library nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(M_TRIM_THRESHOLD, MOST)
