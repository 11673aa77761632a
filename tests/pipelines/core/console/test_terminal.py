"""What reaches the terminal: stderr while a body runs in `stderr_held`, seen from outside of the process; log lines."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys

import pytest

from pipelines.core.console import terminal
from tests.support import fresh_python

BEGIN = """
import logging, os, subprocess, sys
from pipelines.core.console.terminal import stderr_held
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


def test_what_both_programs_log_is_printed_as_plain_lines(capsys):
    with terminal.log_printed():
        logging.getLogger("trainer.training.train").info("\nepoch %d/%d", 1, 3)
        logging.getLogger("trainer.training.train").warning("100% of one class")
        logging.getLogger("trainer.training.train").debug("for developers")
        logging.getLogger("pipelines.work_dir").info("Goes on.")
        logging.getLogger("pipelines.work_dir").warning("no lock")
        logging.getLogger("pipelines.beam_workers.external_pool").info("Started worker 1-1.")
        logging.getLogger("library").info("a detail")
    logging.getLogger("trainer.training.train").info("a call from a program of one's own")
    out, err = capsys.readouterr()
    assert out == "\nepoch 1/3\nwarning: 100% of one class\nStarted worker 1-1.\n"
    assert err == "Goes on.\nwarning: no lock\n"


def test_without_a_command_nothing_is_printed_and_with_one_nothing_twice():
    """In a new process, in which the root logger has no handler and then one of the user."""
    code = """
import logging, sys
from pipelines.core.console import terminal
log = logging.getLogger("trainer.training.train")
log.info("not shown")
with terminal.log_printed():
    logging.basicConfig(level=logging.INFO, format="user: %(message)s", stream=sys.stdout)
    log.info("once")
    logging.getLogger("theirs").info("theirs")
log.info("once more")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("once\nuser: theirs\nuser: once more\n", "")


def test_a_log_that_is_written_to_a_file_goes_nowhere_else(capsys, caplog):
    log, file = logging.getLogger("trainer.training.epoch_reports"), io.StringIO()
    with terminal.log_printed():
        log.info("before")
        with contextlib.suppress(KeyError), terminal.log_written(file):
            log.info("in it")
            raise KeyError
        log.info("after")
    assert file.getvalue() == "in it\n"
    assert capsys.readouterr().out == "before\nafter\n"
    assert caplog.messages == []
    log.warning("for the root logger again")
    assert caplog.messages == ["for the root logger again"]


class Full(io.StringIO):
    """A stream that takes nothing, as a pipe does whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError


def test_a_line_that_cannot_be_printed_ends_a_training_but_not_a_preparation(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    with terminal.log_printed():
        with pytest.raises(BrokenPipeError):
            logging.getLogger("trainer.training.epoch_reports").info("epoch 1/3")
        logging.getLogger("pipelines.work_dir").info("Goes on.")


def test_each_line_is_flushed_at_once():
    code = """
import logging, os
from pipelines.core.console import terminal
with terminal.log_printed():
    logging.getLogger("trainer.x").info("a line")
    os._exit(0)  # nothing that is still in a buffer is written
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "a line\n"


class Screen(io.StringIO):
    """A terminal, or a file in its place."""

    def __init__(self, shown):
        super().__init__()
        self.isatty = lambda: shown


@pytest.mark.parametrize("shown", [True, False])
def test_a_terminal_shows_that_libraries_are_loading_and_clears_the_line(monkeypatch, shown):
    screen = Screen(shown)
    monkeypatch.setattr(sys, "stderr", screen)
    with terminal.loading_shown():
        assert screen.getvalue() == ("The libraries are loading ..." if shown else "")
    assert screen.getvalue() == ("The libraries are loading ...\r\033[K" if shown else "")


def test_keras_is_left_out_in_the_body_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", sys)  # it was imported before
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with terminal.without_keras():
        with pytest.raises(ImportError):
            import keras  # noqa: F401
        assert sys.modules["tf_keras"] is sys
    assert "keras" not in sys.modules
    assert sys.modules["tf_keras"] is sys


def test_what_the_body_imports_after_all_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with terminal.without_keras():
        sys.modules["keras"] = sys
    assert sys.modules["keras"] is sys


@pytest.mark.slow
def test_keras_works_after_tensorflow_was_imported_without_it():
    code = """
import sys
from pipelines.core.console.terminal import without_keras
with without_keras():
    import tensorflow as tf
print("keras" in sys.modules, end=" ")
import keras
print(tf.keras.layers.Dense is keras.layers.Dense, tf.keras.Sequential([keras.layers.Dense(2)])(tf.ones((1, 3))).shape)
"""
    assert fresh_python.output_of(code) == b"False True (1, 2)\n"
