"""Interrupts that a library swallows, and those that it does not."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipelines.core.console import interrupts

ROOT = pathlib.Path(__file__).parents[4]
# As Keras does in a few dozen places.
SWALLOWING = """
import sys, time
from pipelines.core.console import interrupts, streams
interrupts.SECONDS = 0.2
def program():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except:
        print("swallowed", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        return 7
    return 0
sys.exit(streams.run(program))
"""


@pytest.fixture(autouse=True)
def interruptible():
    """As in a terminal: what a shell starts in the background ignores interrupts, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_a_library_swallows_comes_again():
    started = time.monotonic()
    program = subprocess.Popen([sys.executable, "-c", SWALLOWING], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=120)[0] == "swallowed\n"
    assert program.returncode == 7
    assert time.monotonic() - started < 50


def test_an_interrupt_that_ends_the_body_does_not_come_again(monkeypatch):
    monkeypatch.setattr(interrupts, "SECONDS", 0.05)

    @interrupts.repeated()
    def wait():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        wait()
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_others_stays(monkeypatch):
    came = []
    monkeypatch.setattr(interrupts, "SECONDS", 0.05)
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1))
    try:
        with interrupts.repeated():
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [1]


def test_another_thread_changes_nothing():
    seen = []

    def body():
        with interrupts.repeated():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
