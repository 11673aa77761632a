"""What the terminal shows: our own lines, and not the notices that native libraries print while they load."""

from __future__ import annotations

import contextlib
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
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # a failure is told once, by the command itself
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFT's advice on formats for large analyses; ours is tiny


@contextlib.contextmanager
def native_notices_held() -> Iterator[None]:
    """Holds back what is written to file descriptor 2; shows it after all if the body fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode("utf-8", "replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


def import_tensorflow() -> None:
    """Imports TensorFlow and makes it look for devices, without its notices."""
    with native_notices_held():
        import tensorflow as tf

        tf.config.list_physical_devices()
