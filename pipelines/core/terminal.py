"""Shows on the terminal our own lines, and not the notices that native libraries print."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO


def set_up() -> None:
    """Sets the environment and the logging of a command; call before TensorFlow is imported.

    Preparing runs on the CPU alone: it must not take a GPU's memory from a trainer beside it. oneDNN is switched off
    because its results depend on the processor, and shards must not.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a damaged image is a reject, not a line of a decoder
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TensorFlow Transform loads that one anyway: not both
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # a failure is told once, by the command itself
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFT's advice on formats for large analyses; ours is tiny


@contextlib.contextmanager
def stderr_held(native_only: bool = False) -> Iterator[None]:
    """Holds back what is written to file descriptor 2, and shows it only if the body fails.

    For libraries that write there what no log level stops: TensorFlow while it loads, libtiff and libjpeg of a damaged
    file. It holds for the whole process, other threads and child processes included.

    Args:
      native_only: lets pass what Python writes to sys.stderr, such as another thread's progress. Not for imports: a
        logging handler that keeps this sys.stderr cannot write to it after the body.
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
        except BaseException:
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
    with stderr_held():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Collects no garbage while the body imports: there is none, and looking for it takes an eighth of the time.

    What is there at the end stays, and is never looked through again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _writes_to_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # of a notebook or of a test, in memory
        return False
