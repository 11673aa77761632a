"""The doctor on programs of strangers: each in a process of its own, and whether its first finding is the true cause.

    python benchmarks/doctor_strangers.py /folder/strangers --write docs/doctor.md

A program is a folder with `prog.py`, and what is right of it stands in `doctor_strangers.toml`. The folder of the
programs is on the path of each, for what they share. Exit status 1 if one is not right.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = HERE / "doctor_strangers.toml"
HEAD = ("| program | verdict | first finding | right | seconds |", "|---|---|---|---|---|")
BEGIN, END = "<!-- strangers: begin -->", "<!-- strangers: end -->"
SECONDS = 300  # of one program, with the time in which it trains its own model


@dataclasses.dataclass(frozen=True)
class Expected:
    """What is right of a program, an entry of the TOML file.

    finds: the ids of findings that name the cause, one of which has to come first; () of a healthy program.
    words: has to be in the first finding's sentence, where an id has several cases.
    dataset, model: the names in prog.py.
    reason: why a miss is left in.
    """

    finds: tuple[str, ...] = ()
    words: str = ""
    dataset: str = "data"
    model: str = "model"
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the doctor said of a program."""

    name: str
    verdict: str
    first: str
    right: bool
    seconds: float
    reason: str


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="folder of the programs")
    parser.add_argument("--only", default="", help="run the programs whose name contains this, or one of several (a,b)")
    parser.add_argument("--write", default="", metavar="FILE", help="put the table between the marks of this file")
    options = parser.parse_args()
    entries = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))
    outcomes = []
    for path in sorted(pathlib.Path(options.folder).resolve().glob("*/prog.py")):
        name = path.parent.name
        if name not in entries or not any(part in name for part in options.only.split(",")):
            continue
        given = entries[name]
        outcomes.append(examine(path.parent, Expected(**(given | {"finds": tuple(given.get("finds", ()))}))))
        print(row(outcomes[-1]), file=sys.stderr, flush=True)
    text = "\n".join([*HEAD, *map(row, outcomes), "", summary(outcomes)])
    print(text)
    if options.write:
        write(pathlib.Path(options.write), text)
    return 0 if all(outcome.right for outcome in outcomes) else 1


def examine(folder: pathlib.Path, expected: Expected) -> Outcome:
    """Runs the doctor on one program as its user would."""
    command = [sys.executable, "-m", "trainer", "doctor", "--json", "-", "--dataset", f"prog:{expected.dataset}"]
    command += ["--model", f"prog:{expected.model}"] if expected.model else []
    paths = os.pathsep.join([str(HERE.parent), str(folder.parent)])
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(folder.name, f"none within {SECONDS} s", "", False, SECONDS, expected.reason)
    seconds = time.monotonic() - started
    try:
        told = json.loads(done.stdout[done.stdout.index("{\n") :])  # the program may print before it
    except ValueError:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1][:160]
        return Outcome(folder.name, f"refused: {said}", "", False, seconds, expected.reason)
    first = told["findings"][0] if told["findings"] else {"id": "", "what": ""}
    named = first["id"] in expected.finds and expected.words in first["what"]
    right = named if expected.finds else told["healthy"]
    return Outcome(folder.name, told["verdict"], first["id"], right, seconds, expected.reason)


def row(outcome: Outcome) -> str:
    """A row of the table."""
    said = f"`{outcome.first}`" if outcome.first else ""
    right = "yes" if outcome.right else "**no**" + (f": {outcome.reason}" if outcome.reason else "")
    return f"| {outcome.name} | {outcome.verdict.replace('|', '/')} | {said} | {right} | {outcome.seconds:.0f} |"


def summary(outcomes: list[Outcome]) -> str:
    """Counts the outcomes."""
    return f"{sum(outcome.right for outcome in outcomes)} of {len(outcomes)} right."


def write(path: pathlib.Path, text: str) -> None:
    """Puts the table into a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
