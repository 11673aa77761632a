"""Keeps the notices of native libraries off the terminal."""

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
    """Sets the environment and the logging of a command.

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
    logging.getLogger("pipelines").setLevel(logging.INFO)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # the command itself reports a failure, once
    logging.getLogger("absl").setLevel(logging.ERROR)  # hides TFT's advice for large analyses; ours is tiny


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


def _writes_to_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):  # a stream in memory, of a notebook or of a test
        return False
