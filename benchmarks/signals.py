"""Signals that the soaks end a program with, and what it may leave behind."""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import psutil

ALL = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
TWICE_RATE = 0.3  # of the signals come a second time
TWICE_SECONDS = 1.0  # the most between the two
SECONDS = 30.0  # within these the program has ended and so have its children
MARK = "SHARDMILL_SOAK"  # an environment variable that all children of a program inherit


class LeftBehindError(Exception):
    """A program does not end, or leaves a process behind."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds --signals to a soak's options."""
    parser.add_argument(
        "--signals", nargs="+", choices=ALL, default=["SIGKILL"], help="draw each kill's from these; some come twice"
    )


def end_after(line: list[str], root: pathlib.Path, seconds: float, names: list[str], draw: random.Random) -> str:
    """Starts a program and sends it a drawn signal after so many seconds.

    Returns:
      What was sent, when, and the status. "" where the program had ended before.

    Raises:
      LeftBehindError: it did not end, or a process that it started is alive.
    """
    for name in names:
        number = getattr(signal, name)
        if signal.getsignal(number) is signal.SIG_IGN:  # as under nohup; the program would inherit it
            signal.signal(number, signal.SIG_DFL)
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    process = subprocess.Popen(
        line, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, MARK: mark}
    )
    said = ""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        name = draw.choice(names)
        said = _send(process, getattr(signal, name), name, draw)
        said += f" after {seconds:.2f} s, status {process.returncode}"
    _wait_for_children(mark, said)
    return said


def _send(process: subprocess.Popen[bytes], number: signal.Signals, name: str, draw: random.Random) -> str:
    process.send_signal(number)
    said = name
    if draw.random() < TWICE_RATE:
        time.sleep(draw.uniform(0, TWICE_SECONDS))
        process.send_signal(number)  # does nothing where it has ended
        said += " twice"
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise LeftBehindError(f"{said}: the program goes on after {SECONDS:.0f} s") from None
    return said


def _wait_for_children(mark: str, said: str) -> None:
    until = time.monotonic() + SECONDS
    while left := _marked(mark):
        if time.monotonic() > until:
            for child in left:
                print(f"  left: {child}", file=sys.stderr)
                child.kill()
            raise LeftBehindError(f"{said}: {len(left)} processes are left after {SECONDS:.0f} s")
        time.sleep(0.2)


def _marked(mark: str) -> list[psutil.Process]:
    """Processes of this program, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
