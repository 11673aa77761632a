"""What the terminal shows: our own lines, and not the notices that native libraries print while they load."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


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
def native_notices_held() -> Iterator[None]:
    """Holds back what libraries write to file descriptor 2, and not what Python does: another thread may show progress.

    Shows it after all if the body fails.
    """
    sys.stderr.flush()
    saved, python = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as held, open(saved, "w", buffering=1, encoding="utf-8", errors="replace") as beside:
        if python.fileno() == 2:
            sys.stderr = beside
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            beside.write(held.read().decode("utf-8", "replace"))
            raise
        finally:
            os.dup2(saved, 2)
            sys.stderr = python


def import_tensorflow() -> None:
    """Imports TensorFlow and makes it look for devices, without its notices."""
    with native_notices_held():
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
