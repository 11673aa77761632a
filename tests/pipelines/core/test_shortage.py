"""What the system has too little of is said in one sentence, by both programs."""

from __future__ import annotations

import errno
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading

import pytest

from pipelines.cli import main as pipelines_main
from pipelines.core import shortage
from pipelines.core.errors import ShortageError
from trainer.cli import commands

ROOT = pathlib.Path(__file__).parents[3]
TRACE = 'Task failed in a worker process:\nTraceback (most recent call last):\n  File "x.py", line 1, in f\n'


@pytest.fixture(autouse=True)
def room(monkeypatch, tmp_path):
    """Tests choose the temporary folder by this variable, which Python otherwise reads once."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def fill(monkeypatch, number=errno.ENOSPC):
    """Has temporary files fail as on a full disk."""

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, _):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())


def allow(monkeypatch, threads):
    """Has the system refuse more threads than this."""
    start, begun = threading.Thread.start, []

    def limited(self):
        if len(begun) >= threads:
            raise RuntimeError("can't start new thread")
        begun.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_what_is_enough_leaves_no_file_and_no_thread(tmp_path):
    before = threading.active_count()
    shortage.check()
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_temporary_folder_is_told_before_anything_begins(monkeypatch, tmp_path, number):
    fill(monkeypatch, number)
    with pytest.raises(ShortageError, match=rf"temporary files, '{tmp_path}', has no room\. .* TMPDIR"):
        shortage.check()


def test_no_temporary_folder_at_all(monkeypatch):
    monkeypatch.setattr(tempfile, "_get_default_tempdir", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "none")))
    with pytest.raises(ShortageError, match="No folder for temporary files can be written"):
        shortage.check()


def test_too_few_threads_are_told_with_both_numbers(monkeypatch):
    monkeypatch.setattr(shortage.machine, "cores", lambda: 2)
    allow(monkeypatch, 32)
    with pytest.raises(ShortageError, match=r"needs some 33 threads, and the system lets it start 32\. .*ulimit -u"):
        shortage.check()


def test_exactly_enough_threads(monkeypatch):
    monkeypatch.setattr(shortage.machine, "cores", lambda: 2)
    allow(monkeypatch, 33)
    shortage.check()


@pytest.mark.parametrize("name", shortage.LEAST)
@pytest.mark.parametrize(("more", "enough"), [(0, True), (-1, False)])
def test_a_limit_of_memory_below_what_tensorflow_takes(name, more, enough, monkeypatch):
    kind, least = shortage.LEAST[name]
    limits = {kind: (least + more, least + more)}
    monkeypatch.setattr(shortage.resource, "getrlimit", lambda k: limits.get(k, (resource.RLIM_INFINITY,) * 2))
    if enough:
        shortage.check()
        return
    with pytest.raises(ShortageError, match=name):
        shortage.check()


SHORT = {
    "library": (ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"), "ulimit -v"),
    "thread": (RuntimeError("can't start new thread [while running 'Plan']"), "ulimit -u"),
    "fork": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
    "thread of a worker": (RuntimeError(f"{TRACE}RuntimeError: can't start new thread"), "ulimit -u"),
    "files": (OSError(errno.EMFILE, "Too many open files", "a"), "ulimit -n"),
    "files of a worker": (RuntimeError(f"{TRACE}OSError: [Errno 24] Too many open files: 'a'"), "ulimit -n"),
    "memory": (MemoryError(), "ulimit -v"),
    "memory of a worker": (RuntimeError(f"{TRACE}MemoryError"), "ulimit -v"),
    "room": (OSError(errno.ENOSPC, "No space left on device", "out/a"), "Free some where the output is"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "Free some where the output is"),
    "room of a worker": (RuntimeError(f"{TRACE}OSError: [Errno 28] No space left on device"), "run the same command"),
    "room of TensorFlow": (
        RuntimeError("/a/saved_model.pb.tmp1; No space left on device"),
        "Free some where the output",
    ),
    "memory for a process": (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -v"),
}


@pytest.mark.parametrize("name", SHORT)
def test_both_programs_say_what_ran_out_and_what_to_do(name, monkeypatch, capsys):
    error, remedy = SHORT[name]

    def fails(*_):
        raise error

    monkeypatch.setitem(pipelines_main._COMMANDS, "verify", fails)
    assert pipelines_main.main(["verify", "out"]) == 1
    said = capsys.readouterr().err
    assert commands.guarded("train", fails) == 1
    for told, begin in ((said, "error: "), (capsys.readouterr().err, "train: ")):
        assert told.startswith(begin)
        assert remedy in told
        assert told.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("photos/MemoryError.jpg is odd"), ValueError("x"), OSError(errno.EACCES, "Not allowed", "a")],
)
def test_other_errors_are_not_taken_for_a_shortage(error):
    assert shortage.told(error) == ""


def test_without_room_for_temporary_files_any_error_is_told_so(monkeypatch, tmp_path):
    """As TensorFlow's, which then cannot compile a Python function and speaks of symbolic tensors."""
    fill(monkeypatch)
    said = shortage.told(TypeError("Iterating over a symbolic tensor"))
    assert str(tmp_path) in said
    assert said.endswith("in the variable TMPDIR (Iterating over a symbolic tensor).")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() == 0, reason="root may start any number of processes")
def test_a_low_limit_of_processes_is_one_sentence(tmp_path):
    train = ["train", "--data", "tests/data/format_1/uint8", "--output", str(tmp_path / "o")]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -u 5; exec "$@"', "sh", sys.executable, "-m", "trainer", *train],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ulimit -u" in done.stderr
    assert done.stderr.count("\n") == 1
