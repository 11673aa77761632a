"""What reaches the terminal's stderr while a body runs in `stderr_held`: seen from outside of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.core import terminal

BEGIN = """
import logging, os, subprocess, sys
from pipelines.core.terminal import stderr_held
"""


def said(code: str) -> str:
    """Returns what a program writes to stderr."""
    return subprocess.run([sys.executable, "-c", BEGIN + code], stderr=subprocess.PIPE, text=True, check=False).stderr


def test_what_the_body_writes_is_dropped_and_what_comes_after_is_not():
    assert (
        said("""
print("before", file=sys.stderr)
with stderr_held():
    os.write(2, b"native\\n")
    print("python", end="", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo child >&2"])
print("after", file=sys.stderr)
os.write(2, b"native after\\n")
""")
        == "before\nafter\nnative after\n"
    )


def test_a_body_that_fails_shows_it_before_the_error():
    lines = said("""
with stderr_held():
    os.write(2, b"native \\xff\\n")
    print("python", file=sys.stderr)
    raise KeyError("why")
""").splitlines()
    assert lines[:2] == ["native \N{REPLACEMENT CHARACTER}", "python"]
    assert lines[-1] == "KeyError: 'why'"


def test_native_only_lets_python_write():
    assert (
        said("""
with stderr_held(native_only=True):
    os.write(2, b"native\\n")
    print("python", file=sys.stderr)
print("after", file=sys.stderr)
""")
        == "python\nafter\n"
    )


def test_a_logging_handler_made_while_libraries_load_goes_on_writing():
    assert (
        said("""
with stderr_held():
    logging.getLogger("library").addHandler(logging.StreamHandler())
logging.getLogger("library").warning("a remark")
""")
        == "a remark\n"
    )


def test_no_descriptor_stays_open():
    assert (
        said("""
for native_only in (False, True) * 5:
    with stderr_held(native_only):
        pass
    if native_only:
        number = os.dup(2)
        os.close(number)
        first = globals().setdefault("first", number)
        assert number == first
""")
        == ""
    )


@pytest.mark.parametrize("native_only", [False, True])
def test_a_stream_in_memory_is_left_alone(capsys, native_only):
    with terminal.stderr_held(native_only):
        print("to the stream", file=sys.stderr)
    assert capsys.readouterr().err == "to the stream\n"
