"""The real tasks of `file_reader`, but for files whose names ask for what a bad decoder does."""

import os
import signal
import time

from pipelines.images import picture_tasks, record_tasks
from pipelines.images.record_tasks import warm_up  # noqa: F401


def measure(path, *shared):
    _fault(path)
    return picture_tasks.measure(path, *shared)


def picture(path, *shared):
    _fault(path)
    return picture_tasks.picture(path, *shared)


def record(path, *shared):
    _fault(path)
    return record_tasks.record(path, *shared)


def _fault(path):
    name = os.path.basename(path)
    if name.startswith("hangs"):
        time.sleep(3600)
    if name.startswith("crashes"):
        os.kill(os.getpid(), signal.SIGSEGV)
