"""The real tasks, but for pictures whose names ask for a fault; and tasks that do what a bad decoder does."""

import contextlib
import os
import signal
import time
from unittest import mock

from pipelines import storage
from pipelines.images import formats
from pipelines.job import worker_tasks
from pipelines.job.worker_tasks import finish, thumbnails, warm_up  # noqa: F401
from pipelines.workers import memory_limit


def fingerprint(source, limits):
    _fault(source.key, "fingerprint")
    with _surprise(formats, "read_header", "surprises-in-fingerprint" in source.key):
        return worker_tasks.fingerprint(source, limits)


def make(ref, copies, label_id, split, spec):
    _fault(ref.key, "make")
    with _surprise(storage, "read_input", "surprises-in-make" in ref.key):
        return worker_tasks.make(ref, copies, label_id, split, spec)


def echo(value):
    return value, os.getpid()


def both(own, shared):
    return own, shared


def sleep(seconds):
    time.sleep(seconds)


def die(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(*_):
    os._exit(0)


def half_an_answer(_):
    """Damages the stream of answers, as a worker that is killed in the middle of one does."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\x80\x05\x95\xff")
        except OSError:
            continue
    os._exit(1)


def hoard(megabytes, allowed):
    memory_limit.bound(allowed << 20)
    try:
        return len(bytearray(megabytes << 20)) >> 20
    except MemoryError:
        return "MemoryError"


def hold_turn(pixels, seconds, wait):
    with memory_limit.turn(pixels, wait):
        started = time.monotonic()
        time.sleep(seconds)
    return started, time.monotonic()


def die_in_turn():
    with memory_limit.turn(memory_limit.LARGE + 1, 9):
        die(0)


def fail(text):
    raise ValueError(text)


@contextlib.contextmanager
def _surprise(module, name, wanted):
    """A reader of images raises what no reader of images should."""

    def raises(*_):
        raise OverflowError("too large to convert")

    with mock.patch.object(module, name, raises) if wanted else contextlib.nullcontext():
        yield


def _fault(key, stage):
    if f"hangs-in-{stage}" in key:
        time.sleep(3600)
    if f"crashes-in-{stage}" in key:
        os.kill(os.getpid(), signal.SIGSEGV)
