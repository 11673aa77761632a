"""Tasks of a worker that takes its time to import, and of one that never stops to write files."""

import tempfile
import time

time.sleep(3)


def warm_up():
    return None


def leave_files_for_ever():
    while True:
        tempfile.mkstemp()
        time.sleep(0.001)
