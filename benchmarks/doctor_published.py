"""The doctor on programs after the posts of a published benchmark, each beside its corrected twin.

    python benchmarks/doctor_published.py --write docs/doctor.md

The programs stand in `published/programs.toml`. Each runs as it is, in the way of `python -m trainer doctor train.py`,
in a folder of its own. Exit status 1 if a cause is missed or a corrected program is accused.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import pathlib
import pickle
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from multiprocessing import connection
from multiprocessing.process import BaseProcess

os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg"}

from trainer.doctor.finding import INFO
from trainer.doctor.program import child, spec
from trainer.doctor.program.spec import Spec

FORK = multiprocessing.get_context("fork")
HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS, DATA = HERE / "published" / "programs.toml", HERE / "published" / "load_data.py"
HEAD = ("| row | post | true faults | said | right cause | of the corrected program | seconds |", "|" + "---|" * 7)
BEGIN, END = "<!-- published: begin -->", "<!-- published: end -->"
SECONDS = 400  # of one program


@dataclasses.dataclass(frozen=True)
class Program:
    """A program and its corrected twin; programs.toml explains the fields."""

    row: str
    post: str
    about: str
    truth: str
    source: str
    causes: tuple[str, ...]
    program: str
    changes: tuple[tuple[str, str], ...]
    left: tuple[str, ...] = ()
    reason: str = ""

    @property
    def corrected(self) -> str:
        """Returns the program with its changes.

        Raises:
          ValueError: a change is about a text that the program has not.
        """
        text = self.program
        for old, new in self.changes:
            if old not in text:
                raise ValueError(f"Row {self.row} has no {old!r}.")
            text = text.replace(old, new)
        return text


@dataclasses.dataclass(frozen=True)
class Said:
    """What the doctor said of a program: the ids of its findings, the first of them first."""

    ids: tuple[str, ...]
    verdict: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the doctor said of a program and of its twin."""

    given: Program
    faulty: Said
    corrected: Said

    @property
    def detected(self) -> bool:
        return bool(self.faulty.ids)

    @property
    def named(self) -> bool:
        return any(id_ in self.given.causes for id_ in self.faulty.ids)

    @property
    def first(self) -> bool:
        return bool(self.faulty.ids) and self.faulty.ids[0] in self.given.causes

    @property
    def accused(self) -> tuple[str, ...]:
        """Returns what was said of the corrected program and is not true of it."""
        return tuple(id_ for id_ in self.corrected.ids if id_ not in self.given.left)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="ROWS", help="run these rows only, such as 3,17")
    parser.add_argument("--jobs", type=int, default=2, help="programs that run at a time (default 2)")
    parser.add_argument("--keep", default="", metavar="DIR", help="leave the programs and the reports in this folder")
    parser.add_argument("--write", default="", metavar="FILE", help="put the table between the marks of this file")
    options = parser.parse_args()
    wanted = [given for given in programs() if not options.only or given.row in options.only.split(",")]
    outcomes = examine(wanted, options.jobs, options.keep)
    text = "\n".join([*HEAD, *map(row, outcomes), "", *summary(outcomes)])
    print(text)
    if options.write:
        write(pathlib.Path(options.write), text)
    return 0 if all(outcome.named and not outcome.accused for outcome in outcomes) else 1


def programs() -> list[Program]:
    """Reads programs.toml."""
    entries = tomllib.loads(PROGRAMS.read_text(encoding="utf-8"))
    return [
        Program(
            row,
            post,
            **(entry | {"causes": tuple(entry["causes"]), "left": tuple(entry.get("left", ()))})
            | {"changes": tuple((old, new) for old, new in entry["changes"])},
        )
        for row, posts in entries.items()
        for post, entry in posts.items()
    ]


def examine(wanted: list[Program], jobs: int, keep: str) -> list[Outcome]:
    """Runs the doctor on all programs and their twins, some at a time."""
    rows = {given.row: given for given in wanted}
    codes = {
        f"{given.row}{'-corrected' if corrected else ''}": given.corrected if corrected else given.program
        for given in wanted
        for corrected in (False, True)
    }
    said: dict[str, Said] = {}
    outcomes = {}
    for name, folder, seconds in ran(codes, jobs):
        said[name] = read(folder, seconds)
        if keep:
            shutil.copytree(folder, f"{keep}/{name}", dirs_exist_ok=True)
        number = name.removesuffix("-corrected")
        if {number, f"{number}-corrected"} <= set(said):
            outcomes[number] = Outcome(rows[number], said[number], said[f"{number}-corrected"])
            print(row(outcomes[number]), file=sys.stderr, flush=True)
    return [outcomes[given.row] for given in wanted]


def ran(codes: Mapping[str, str], jobs: int) -> Iterator[tuple[str, str, float]]:
    """Runs the doctor on programs by their names, and yields (name, folder of the answer, seconds).

    Each runs in a process of its own, as `doctor train.py` runs it. The processes are forked from this one, which has
    loaded TensorFlow, so that each does not have to. A folder is removed when the next one is asked for.
    """
    waiting = list(codes.items())
    running: dict[int, tuple[str, BaseProcess, str, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name, code = waiting.pop(0)
            folder = tempfile.mkdtemp(prefix="doctor-")
            process = FORK.Process(target=child_of, args=(code, folder))
            process.start()
            running[process.sentinel] = name, process, folder, time.monotonic()
        for sentinel in connection.wait(list(running), timeout=SECONDS):
            name, _, folder, started = running.pop(int(sentinel))  # type: ignore[call-overload]
            yield name, folder, time.monotonic() - started
            shutil.rmtree(folder, ignore_errors=True)


def child_of(code: str, folder: str) -> None:
    """Runs one program, in a process that is its own."""
    copy = pathlib.Path(folder, "copy")
    copy.mkdir()
    (copy / "train.py").write_text(code.lstrip("\n"), encoding="utf-8")
    shutil.copy(DATA, copy)
    os.chdir(copy)
    log = os.open(f"{folder}/log.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    here = str(pathlib.Path(folder, "own"))
    Spec(str(copy / "train.py"), f"{here}/train.py", (), here, {str(copy): here}, folder).write()
    child.main(folder)


def read(folder: str, seconds: float) -> Said:
    """Reads what a process has answered."""
    answer = pathlib.Path(folder, spec.ANSWER)
    if not answer.is_file():
        raise RuntimeError(pathlib.Path(folder, "log.txt").read_text(encoding="utf-8", errors="replace")[-2000:])
    report, _ = pickle.loads(answer.read_bytes())
    pathlib.Path(folder, "said.txt").write_text(report.text(), encoding="utf-8")
    faults = (finding.id for finding in report.findings if finding.level != INFO)  # a remark accuses nobody
    return Said(tuple(faults), report.verdict, seconds)


def row(outcome: Outcome) -> str:
    """A row of the table."""
    given = outcome.given
    named = "first" if outcome.first else "yes" if outcome.named else "**no**"
    if given.reason and not outcome.first:
        named += f": {given.reason}"
    of_twin = "left alone"
    if outcome.corrected.ids:
        of_twin = spelled(tuple(id_ for id_ in outcome.corrected.ids if id_ in given.left))
        of_twin = f"true: {of_twin}" if of_twin else ""
        of_twin += ("; " if of_twin and outcome.accused else "") + (
            f"**accused**: {spelled(outcome.accused)}" if outcome.accused else ""
        )
    elif not outcome.corrected.verdict.startswith("Healthy"):
        of_twin = outcome.corrected.verdict.split(":")[0]
    said, seconds = spelled(outcome.faulty.ids), outcome.faulty.seconds
    post = f"{given.post}{'' if given.source == 'post' else ' *'}"
    return f"| {given.row} | {post} | {given.truth} | {said} | {named} | {of_twin} | {seconds:.0f} |"


def spelled(ids: tuple[str, ...]) -> str:
    return ", ".join(f"`{id_}`" for id_ in ids)


def summary(outcomes: list[Outcome]) -> list[str]:
    """Counts the outcomes."""
    count = len(outcomes)
    return [
        f"Of {count} programs {sum(o.detected for o in outcomes)} detected; a right cause named in "
        f"{sum(o.named for o in outcomes)}, as the first finding in {sum(o.first for o in outcomes)}. Of {count} "
        f"corrected programs {sum(not o.accused for o in outcomes)} left alone, but for what the correction left in."
    ]


def write(path: pathlib.Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Puts a table between two marks of a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
