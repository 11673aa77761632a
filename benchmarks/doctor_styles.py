"""The doctor on programs of ours in many styles, healthy and faulty: what it says of each.

    python benchmarks/doctor_styles.py --write docs/doctor.md

The programs stand in `styles/programs.toml`. Each runs as it is, in the way of `python -m trainer doctor train.py`, in
a folder of its own. Exit status 1 if a healthy program is accused, or the cause of a faulty one does not come first.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tomllib
from typing import Any

import doctor_published

from trainer.doctor.program import notebook

PROGRAMS = pathlib.Path(__file__).resolve().parent / "styles" / "programs.toml"
HEAD = ("| program | what it is | said | right | seconds |", "|" + "---|" * 5)
BEGIN, END = "<!-- styles: begin -->", "<!-- styles: end -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="run the programs whose name contains this, or one of several (a,b)")
    parser.add_argument("--jobs", type=int, default=2, help="programs that run at a time (default 2)")
    parser.add_argument("--write", default="", metavar="FILE", help="put the table between the marks of this file")
    options = parser.parse_args()
    entries = tomllib.loads(PROGRAMS.read_text(encoding="utf-8"))
    wanted = {name: e for name, e in entries.items() if any(part in name for part in options.only.split(","))}
    rows, right = {}, {}
    for name, folder, seconds in doctor_published.ran({name: code(e) for name, e in wanted.items()}, options.jobs):
        said = doctor_published.read(folder, seconds)
        right[name] = is_right(wanted[name], said)
        rows[name] = row(name, wanted[name], said, right[name])
        print(rows[name], file=sys.stderr, flush=True)
    text = "\n".join([*HEAD, *(rows[name] for name in wanted), "", summary(wanted, right)])
    print(text)
    if options.write:
        doctor_published.write(pathlib.Path(options.write), text, BEGIN, END)
    return 0 if all(right.values()) else 1


def code(entry: dict[str, Any]) -> str:
    """Returns the script of a program; of a notebook, the one that the doctor makes of it."""
    if not entry.get("notebook"):
        return str(entry["program"])
    cells = [{"cell_type": "code", "source": cell} for cell in entry["program"].split("\n# %%\n")]
    return notebook.to_script(json.dumps({"cells": cells}), "notebook.ipynb")[0]


def is_right(entry: dict[str, Any], said: doctor_published.Said) -> bool:
    """Tells whether the first finding is the cause, or a healthy program is called healthy."""
    if "finds" in entry:
        return bool(said.ids) and said.ids[0] in entry["finds"]
    return said.verdict.startswith("Healthy")


def row(name: str, entry: dict[str, Any], said: doctor_published.Said, right: bool) -> str:
    """A row of the table."""
    told = doctor_published.spelled(said.ids) or said.verdict.partition(":")[0]
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    return f"| {name} | {entry['about']} | {told} | {'yes' if right else '**no**' + reason} | {said.seconds:.0f} |"


def summary(wanted: dict[str, dict[str, Any]], right: dict[str, bool]) -> str:
    """Counts the outcomes."""
    faulty = [name for name, entry in wanted.items() if "finds" in entry]
    healthy = [name for name in wanted if name not in faulty]
    return (
        f"{sum(right[name] for name in healthy)} of {len(healthy)} healthy programs called healthy; the cause of "
        f"{sum(right[name] for name in faulty)} of {len(faulty)} faulty ones first."
    )


if __name__ == "__main__":
    sys.exit(main())
