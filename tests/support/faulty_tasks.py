"""The real tasks, but for pictures whose names ask for a fault; and tasks that do what a bad decoder does.

A name like hangs-in-make asks for a fault each time, and hangs-once-in-make for one the first time only.
"""

import contextlib
import os
import signal
import tempfile
import time
from unittest import mock

from pipelines import storage
from pipelines.core.errors import StorageError
from pipelines.images.files import formats
from pipelines.job import worker_tasks
from pipelines.job.worker_tasks import finish, thumbnails, warm_up  # noqa: F401
from pipelines.records import make_record
from pipelines.workers import memory_limit


def fingerprint(source, *others):
    _fault(source.key, "fingerprint")
    with _surprise(formats, "read_header", source.key, "fingerprint"):
        return worker_tasks.fingerprint(source, *others)


def make(ref, *others):
    _fault(ref.key, "make")
    with _slow_copies(ref.key), _surprise(storage, "read_input", ref.key, "make"):
        return worker_tasks.make(ref, *others)


def make_copy(pixels, ref, copy, *others):
    if f"crashes-in-copy-{copy}." in ref.key:
        die(0)
    with _slow_copies(ref.key):
        return worker_tasks.make_copy(pixels, ref, copy, *others)


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


def leave_a_file():
    """As TensorFlow's autograph does: the file is to be removed at the regular end of the process."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        return os.getpid(), file.name


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


def note(file, result, fault):
    """Writes down that it was called; then it hangs, dies or returns `result`."""
    with open(file, "a", encoding="utf-8") as calls:
        calls.write(f"{os.getpid()}\n")
    if fault == "hang":
        time.sleep(3600)
    if fault == "die":
        die(0)
    return result


def improve(file, fault):
    """Does as `note` at its first call, and returns "good" at the second."""
    return note(file, "good", "") if os.path.exists(file) else note(file, "bad", fault)


RAISED = {
    "surprises": OverflowError("too large to convert"),  # what no reader of images should raise
    "lacks-memory": MemoryError(),
    "is-missing": StorageError("missing", "There is no such file."),
    "is-unreadable": StorageError("unreadable", "OSError: [Errno 116] Stale file handle"),
}


@contextlib.contextmanager
def _surprise(module, name, key, stage):
    """A reader of images raises what the picture's name asks for."""
    for fault, error in RAISED.items():
        if _asked(key, fault, stage):
            with mock.patch.object(module, name, side_effect=error):
                yield
            return
    yield


@contextlib.contextmanager
def _slow_copies(key):
    """A record takes 0.2 s to make from its pixels, if its key says so."""
    example = make_record.make_example

    def slow(*args):
        time.sleep(0.2)
        return example(*args)

    with mock.patch.object(make_record, "make_example", slow) if "slow-copies" in key else contextlib.nullcontext():
        yield


def _fault(key, stage):
    if _asked(key, "hangs", stage):
        time.sleep(3600)
    if _asked(key, "crashes", stage):
        os.kill(os.getpid(), signal.SIGSEGV)


def _asked(key, fault, stage):
    if f"{fault}-once-in-{stage}" in key:
        done = os.path.join(os.environ["FAULTS_DONE"], os.path.basename(key))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(done, os.O_CREAT | os.O_EXCL))
            return True
    return f"{fault}-in-{stage}" in key
