"""Changes the program in one place at a time and shows that a test fails each time.

    python benchmarks/mutants.py [--only NAME ...] [--list | --docs]

`mutants.toml` names each change: the file, a text that occurs in it exactly once, what stands there instead, the tests
to run and what the change would break. The tracked files are copied to a temporary folder, and the changes are made in
this copy. Each set of tests runs without a change first and has to pass. Then each change is made, its tests run, and
the change is undone. A test that is marked as slow is not run.

Exit status 1 if a change survives, which means that all its tests pass; if the tests fail without a change; if a text
is not found exactly once; or if the tests end in another way than by a failure, such as by the limit of seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence

import pytest

ROOT = pathlib.Path(__file__).parent.parent
TABLE = pathlib.Path(__file__).with_name("mutants.toml")
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"
LIMIT = 600  # seconds of one run of pytest
SLOW = 60  # seconds; a longer run is marked in the output
PASSED, FAILED = 0, 1  # exit statuses of pytest; all others mean that it could not run the tests
HEAD = ("| what is broken | in | noticed by |", "|---|---|---|")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """Describes one change of the program.

    text: occurs exactly once in `file`; `by` replaces it.
    tests: files or tests, as pytest takes them; at least one fails after the change.
    breaks: what would go wrong, as a sentence without a full stop.
    """

    name: str
    file: str
    text: str
    by: str
    tests: tuple[str, ...]
    breaks: str

    def changed(self, source: str) -> str:
        """Returns the source with the change.

        Raises:
          ValueError: the text does not occur exactly once, or the change changes nothing.
        """
        count = source.count(self.text)
        if count != 1:
            raise ValueError(f"{self.name}: the text should occur once in {self.file}. It occurs {count} times.")
        if self.text == self.by:
            raise ValueError(f"{self.name}: the change changes nothing.")
        return source.replace(self.text, self.by)


def mutants() -> list[Mutant]:
    """Reads the table, in its order."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutant"]
    found = [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]
    names = [mutant.name for mutant in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Each change should have a name of its own. Twice: {', '.join(twice)}.")
    return found


def table(found: Sequence[Mutant]) -> str:
    """Returns the Markdown table of docs/reliability.md."""
    rows = []
    for mutant in found:
        of_file: dict[str, list[str]] = {}
        for test in mutant.tests:
            file, _, name = test.removeprefix("tests/").partition("::")
            of_file.setdefault(file, []).extend([f"`{name}`"] if name else [])
        tests = "; ".join(f"`{file}` {', '.join(names)}".rstrip() for file, names in of_file.items())
        rows.append(f"| {mutant.breaks} | `{mutant.file}` | {tests} |")
    return "\n".join([*HEAD, *rows])


def regenerated(page: str, found: Sequence[Mutant]) -> str:
    """Returns the page with the table between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table(found)}\n{END}{rest.split(END)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", action="append", metavar="NAME", help="make only this change; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the changes as a Markdown table and make none")
    parser.add_argument("--docs", action="store_true", help="write this table to docs/reliability.md and make none")
    arguments = parser.parse_args()
    found = mutants()
    if arguments.docs:
        PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
        return 0
    if arguments.only:
        unknown = sorted(set(arguments.only) - {mutant.name for mutant in found})
        if unknown:
            parser.error(f"There is no change named {', '.join(unknown)}.")
        found = [mutant for mutant in found if mutant.name in arguments.only]
    if arguments.list:
        print(table(found))
        return 0
    for mutant in found:  # before the first test runs
        mutant.changed((ROOT / mutant.file).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = pathlib.Path(folder, "tree")
        _copy_tracked(tree)
        preload()
        return _run(tree, found)


def _copy_tracked(tree: pathlib.Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def _run(tree: pathlib.Path, found: Sequence[Mutant]) -> int:
    """Runs all tests without and with the changes and prints what came of it.

    Returns:
      The exit status of the program.
    """
    began, bad = time.monotonic(), []
    sets = list(dict.fromkeys(mutant.tests for mutant in found))
    for number, tests in enumerate(sets, 1):
        status, seconds, last = _tested(tree, tests)
        print(f"unchanged {number}/{len(sets)}  {seconds:4.0f} s  {' '.join(tests)}", flush=True)
        if status != PASSED:
            print(f"The tests should pass without a change. pytest ended with {status}:\n{last}")
            return 1
    for number, mutant in enumerate(found, 1):
        status, seconds, last = _tested_with(tree, mutant)
        outcome = {PASSED: "SURVIVED", FAILED: "killed"}.get(status, f"NOT JUDGED (pytest ended with {status})")
        slow = "  slow" if seconds > SLOW else ""
        print(f"{number:3}/{len(found)}  {outcome}  {seconds:4.0f} s{slow}  {mutant.name}  {_failed(last)}", flush=True)
        if status != FAILED:
            bad.append(f"{mutant.name}: {outcome}: {mutant.breaks} ({mutant.file}).")
            print(last if status != PASSED else "", end="", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{len(found) - len(bad)} of {len(found)} changes were noticed, in {minutes:.0f} minutes.", *bad, sep="\n")
    return 1 if bad else 0


def _tested_with(tree: pathlib.Path, mutant: Mutant) -> tuple[int, float, str]:
    path = tree / mutant.file
    source = path.read_text(encoding="utf-8")
    _write(path, mutant.changed(source))
    try:
        return _tested(tree, mutant.tests)
    finally:
        _write(path, source)


def _write(path: pathlib.Path, source: str) -> None:
    """Writes a source file, and removes its byte code.

    Python takes byte code for fresh if time and size of the source are the same, and two writes within a second of
    sources of one size have both.
    """
    path.write_text(source, encoding="utf-8")
    pathlib.Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def _tested(tree: pathlib.Path, tests: Sequence[str]) -> tuple[int, float, str]:
    """Runs tests in the copy; returns (exit status, seconds, the end of the output).

    The exit status is -9 if the run took longer than LIMIT and was killed.
    """
    output, began = tree.parent / "output", time.monotonic()
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(tree, tests, output))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode, time.monotonic() - began, output.read_text(encoding="utf-8", errors="replace")[-3000:]


def _pytest(tree: pathlib.Path, tests: Sequence[str], output: pathlib.Path) -> None:
    """Runs pytest in this process, which is a fork, and ends the process with its status."""
    os.setsid()  # so that the worker processes of a run can be killed with it
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = sys.stderr = open(descriptor, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    for name in [name for name in os.environ if name.startswith("SHARDMILL_")]:  # the drawn images are enough
        del os.environ[name]
    os.chdir(tree)
    sys.path[0] = str(tree)
    line = ["-x", "-q", "-m", "not slow", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    line += ["-p", "no:faulthandler"]  # in a fork of tests, it waits for a thread that is not there
    status = pytest.main([*line, f"--basetemp={tree.parent / 'tests'}", *tests])
    sys.stdout.flush()
    os._exit(status)  # without the end of the interpreter, which waits for threads


def preload() -> None:
    """Imports what takes most of a run's time, so that each run is a fork of this process.

    No module of the program is imported here: a fork imports them from the copy. A fork is safe, since TensorFlow
    starts its threads with the first operation.
    """
    # As tests/conftest.py sets them, which comes too late here.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    for name in ("tensorflow", "keras", "hypothesis", "PIL.Image"):
        importlib.import_module(name)


def _failed(output: str) -> str:
    """Returns the name of the test that failed, from the summary of pytest."""
    lines = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return lines[0].split(" - ")[0].partition(" ")[2] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
