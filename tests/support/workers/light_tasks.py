"""Tasks that show how workers are managed: some do what a bad decoder does.

They load no TensorFlow, so that a program that starts such workers begins at once.
"""

import os
import signal
import tempfile
import time

from pipelines.workers import memory_limit


def warm_up():
    memory_limit.allow()


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


def ahead(task, items):
    _told[:] = [task, items]


def told_ahead(_):
    """What `ahead` was called with before this request."""
    return tuple(_told)


_told = []
