"""The real tasks, but for pictures whose names ask for a fault.

A name like hangs-in-make asks for a fault each time, and hangs-once-in-make for one the first time only.
"""

import contextlib
import os
import signal
import time
from unittest import mock

from pipelines import storage
from pipelines.core.errors import StorageError
from pipelines.images.files import formats
from pipelines.job import worker_tasks
from pipelines.job.worker_tasks import finish, thumbnails, warm_up  # noqa: F401
from pipelines.records import make_record
from tests.support.workers.light_tasks import die, echo  # noqa: F401


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
