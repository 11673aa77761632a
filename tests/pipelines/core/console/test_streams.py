"""Both programs with streams that are closed, cut off, full or ASCII, as a shell starts them."""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from pipelines import contract

ROOT = pathlib.Path(__file__).parents[4]
DATA = ROOT / "tests/data/format_1/uint8"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
CLOSINGS = ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"]
# What a program meets: it opens files, libraries write to the descriptors, children inherit them.
PROGRAM = """
import os, subprocess, sys
from pipelines.core.console import streams
def program():
    with open(sys.argv[1], "wb") as file:
        os.write(1, b"native"), os.write(2, b"native")
        print("python"), print("python", file=sys.stderr), sys.stdin.read()
        subprocess.run(["sh", "-c", "echo child; echo child >&2"])
        file.write(b"content of fd %d" % (file.fileno() > 2))
    return 7
sys.exit(streams.run(program))
"""


def shell(redirection: str, *command: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a command by the shell. It gets its own stdin, so that nothing waits for a terminal."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, *map(str, command)],
        cwd=ROOT, env=BUFFERED | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("closing", CLOSINGS)
def test_nothing_is_written_into_a_file_that_takes_the_place_of_a_closed_stream(closing, tmp_path):
    done = shell(closing, "-c", PROGRAM, tmp_path / "file")
    assert done.returncode == 7
    assert (tmp_path / "file").read_bytes() == b"content of fd 1"
    assert done.stdout == ("" if " >&-" in f" {closing}" else "nativechild\npython\n")
    assert done.stderr == ("" if "2>&-" in closing else "nativepython\nchild\n")


@pytest.fixture(scope="module")
def verified():
    """What `verify` says on DATA where no stream is closed."""
    shown = shell("", "-m", "pipelines", "verify", DATA).stdout
    assert shown.startswith("Intact: ")
    return shown


@pytest.mark.parametrize(
    "closing",
    [pytest.param(closing, marks=[pytest.mark.slow] * (closing not in ("<&-", ">&- 2>&-"))) for closing in CLOSINGS],
)
def test_both_programs_run_with_closed_streams(closing, verified, tmp_path):
    done = shell(closing, "-m", "pipelines", "verify", DATA)
    assert done.returncode == 0
    assert done.stdout == ("" if " >&-" in f" {closing}" else verified)
    done = shell(closing, "-m", "trainer", "evaluate", "--model", tmp_path, "--data", DATA)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ("train first." in done.stderr) == ("2>&-" not in closing)


def test_drawn_images_are_the_same_with_closed_streams(tmp_path):
    """A file that is opened for writing would be the first to take a free descriptor."""
    for name, closing in (("open", ""), ("closed", "<&- >&- 2>&-")):
        done = shell(closing, "-m", "pipelines", "sample", "--output", tmp_path / name, "--count", 3)
        assert done.returncode == 0, done.stderr
    drawn = {name: {p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.jpg")} for name in ("open", "closed")}
    assert drawn["open"] == drawn["closed"] != {}


COMMANDS = [
    ["-m", "pipelines", "verify", DATA],
    ["-m", "pipelines", "--help"],
    ["-m", "pipelines", "prepare", "--help"],
    ["-m", "trainer", "--help"],
    ["-m", "trainer", "train", "--help"],
    ["-c", "import sys; from trainer.cli import shardmill; sys.exit(shardmill.main(['--help']))"],
    ["-c", "import sys; from trainer import task; sys.exit(task.main(['--help']))"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(map(str, c))[:40])
@pytest.mark.parametrize("cut", ["| true", pytest.param("2>&1 | true", marks=pytest.mark.slow)])
def test_a_reader_that_is_gone_ends_a_program_without_a_word(command, cut, tmp_path):
    """The reader has ended before anything is printed, and the status is told in a file."""
    status = tmp_path / "status"
    inner = f'{{ sleep 0.3; "$@"; echo $? >{status}; }} {cut}'
    done = subprocess.run(
        ["sh", "-c", inner, "sh", sys.executable, *map(str, command)],
        cwd=ROOT, env=BUFFERED, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    # argparse itself overlooks an error while it prints a long help.
    assert status.read_text() in (["1\n", "0\n"] if "--help" in str(command) else ["1\n"])
    assert (done.stdout, done.stderr) == ("", "")


def test_a_reader_that_ends_in_the_middle_of_much_output(tmp_path):
    program = (
        "import sys\nfrom pipelines.core.console import streams\n"
        "def program():\n    for i in range(10**6): print('x' * 99)\n    return 0\n"
        "sys.exit(streams.run(program))"
    )
    done = shell("| head -n 2", "-c", program)
    assert (done.stdout, done.stderr) == ("x" * 99 + "\n" + "x" * 99 + "\n", "")


def test_a_broken_pipe_of_another_kind_stays_a_defect():
    program = (
        "import sys\nfrom pipelines.core.console import streams\n"
        "def program(): raise BrokenPipeError(32, 'to a worker')\n"
        "sys.exit(streams.run(program))"
    )
    done = shell("", "-c", program)
    assert done.returncode == 1
    assert done.stderr.endswith("BrokenPipeError: [Errno 32] to a worker\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_behind_the_output_is_one_sentence():
    done = shell(">/dev/full", "-m", "pipelines", "verify", DATA)
    assert (done.returncode, done.stderr) == (1, "error: The output cannot be written: No space left on device.\n")


ASCII = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}]


@pytest.mark.parametrize(("env", "program"), itertools.product(ASCII, ["pipelines", "trainer"]), ids=str)
def test_names_can_be_printed_on_a_terminal_of_any_encoding(env, program, tmp_path):
    if program == "pipelines":
        shutil.copytree(DATA, tmp_path / "data")
        (tmp_path / "data/stats/größe.csv").touch()
        done = shell("", "-m", "pipelines", "verify", tmp_path / "data", **env)
    else:
        code = (
            "import sys; from trainer.cli import main\n"
            "main._compare = lambda _: print('stats/größe.csv is not in the contract')\n"
            "sys.exit(main.main(['compare', 'a']) or 1)"
        )
        done = shell("", "-c", code, **env)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    shown = "größe" if "PYTHONIOENCODING" not in env else "gr\\xf6\\xdfe"
    assert f"stats/{shown}.csv is not in the contract" in done.stdout


@pytest.mark.slow
def test_prepare_without_streams_and_with_a_reader_that_is_gone(photos, tmp_path):
    """The shards are the same: nothing was written among them, and a lock or a socket did not get lost."""
    command = ["-m", "pipelines", "prepare", "--input", photos, "--size=8", "--max-reject-rate=0.1", "--output"]
    done = shell("<&- >&- 2>&-", *command, tmp_path / "closed/data")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell("| true", *command, tmp_path / "piped/data")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    one, other = (contract.load(tmp_path / name / "data") for name in ("closed", "piped"))
    assert one.splits == other.splits


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", "2>&1 | true"])  # it says its first words on stderr
def test_train_without_streams_and_with_a_reader_that_is_gone(redirection, tmp_path):
    out = tmp_path / "run"
    done = shell(redirection, "-m", "trainer", "train", "--data", DATA, "--output", out, "--epochs", 1)
    said = [line for line in done.stderr.splitlines() if not line.startswith(("E0000", "I0000", "W0000"))]  # TensorFlow
    assert (done.stdout, said) == ("", [])
    assert (out / "metrics.json").exists() == ("|" not in redirection)  # `train | head` ends with its first line
