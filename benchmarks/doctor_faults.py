"""Every fault that the doctor is to find, and set-ups in which it is to find nothing, over real photographs.

    SHARDMILL_DATA=/folder python benchmarks/doctor_faults.py --write docs/doctor.md

Faults are registered in `doctor_cases*.py`. Exit status 1 if one is missed or a healthy set-up is not left alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import doctor_registry as registry  # noqa: E402 - found by the path above

HEAD = ("| group | set-up | outcome | also said | seconds |", "|---|---|---|---|---|")
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a case."""

    group: str
    name: str
    expects: str  # "" of a healthy set-up
    found: tuple[str, ...]
    failed: tuple[str, ...]  # checks
    late: tuple[str, ...]  # checks that ran out of time
    seconds: float

    @property
    def right(self) -> bool:
        """A healthy set-up is only left alone if every check came to its end; a fault is found by any of them."""
        if self.failed or (self.late and not self.expects):
            return False
        return self.expects in self.found if self.expects else not self.found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only",
        default="",
        help="run the cases whose group or name contains this, or one of these, separated by commas",
    )
    parser.add_argument("--write", default="", metavar="FILE", help="put the table between the marks of this file")
    parser.add_argument("--folder", default="", help="keep what is prepared and trained here, for the next time")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="X",
        help="times the seconds of every check: where the machine has other things to do",
    )
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp(prefix="doctor-")
    results = run(pathlib.Path(os.environ["SHARDMILL_DATA"]), pathlib.Path(folder), options.only, options.patience)
    text = table(results)
    print(text)
    if options.write:
        write(pathlib.Path(options.write), text, bool(options.only))
    return 0 if all(result.right for result in results) else 1


def run(data: pathlib.Path, folder: pathlib.Path, only: str, patience: float) -> list[Result]:
    """The outcome of every case that is asked for."""
    for path in sorted(HERE.glob("doctor_cases*.py")):
        importlib.import_module(path.stem)
    room = registry.Room(data, folder)
    results = []
    for case in registry.CASES:
        if any(part in f"{case.group}: {case.name}".lower() for part in only.lower().split(",")):
            results.append(examine(case, room, patience))
            print(line(results[-1]), file=sys.stderr, flush=True)
    return results


def examine(case, room, patience) -> Result:  # type: ignore[no-untyped-def]
    """One case, with all probes."""
    import keras

    from trainer.doctor import run_probes
    from trainer.doctor.probes import registry as probes
    from trainer.doctor.subject import load

    keras.backend.clear_session()
    given = case.make(room)
    started = time.monotonic()
    run_probes.TOTAL_SECONDS = 75.0 * patience
    asked = [dataclasses.replace(probe, seconds=probe.seconds * patience) for probe in probes.all_probes()]
    report = run_probes.run(load.subject_of(**given), asked)
    seconds = time.monotonic() - started
    failed, late = (
        tuple(f"{name}: {reason}" for name, reason in report.not_checked if any(word in reason for word in words))
        for words in (("failed",), ("within", "were over"))
    )
    found = tuple(finding.id for finding in report.findings if finding.level != "info")  # a remark is no alarm
    result = Result(case.group, case.name, case.expects, found, failed, late, seconds)
    if not result.right:
        print(report.text(), file=sys.stderr)
    return result


def write(path: pathlib.Path, text: str, some: bool) -> None:
    """Puts the table into a file; of a run of some cases, only their rows are changed and the last line counts anew."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    there, _, after = rest.partition(END)
    if some and there.strip():
        rows = {key(row): row for row in there.splitlines() if is_row(row)}
        rows |= {key(row): row for row in text.splitlines() if is_row(row)}
        ordered = [rows[f"| {c.group} | {c.name} "] for c in registry.CASES if f"| {c.group} | {c.name} " in rows]
        text = "\n".join([*HEAD, *ordered, "", summary(ordered)])
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def is_row(text: str) -> bool:
    return text.startswith("|") and text not in HEAD


def key(row: str) -> str:
    return "|".join(row.split("|")[:3])


def summary(rows: list[str]) -> str:
    """Counts the outcomes in rows of the table."""
    quiet = [row for row in rows if row.startswith(f"| {registry.HEALTHY} |")]
    faults = [row for row in rows if not row.startswith(f"| {registry.HEALTHY} |")]
    return (
        f"{sum('**' not in row for row in faults)} of {len(faults)} faults found; "
        f"{sum('**' not in row for row in quiet)} of {len(quiet)} healthy set-ups left alone."
    )


def line(result: Result) -> str:
    """A row of the table."""
    others = [id_ for id_ in dict.fromkeys(result.found) if id_ != result.expects]
    if result.expects:
        outcome = f"found: `{result.expects}`" if result.expects in result.found else "**missed**"
    else:
        outcome = "quiet" if not others else "**false alarm**"
    mark = "" if result.right else "**"
    if result.failed or result.late:
        outcome += f"; {mark}not checked: {'; '.join(result.failed + result.late)}{mark}"
    beside = ", ".join(f"`{id_}`" for id_ in others)
    return f"| {result.group} | {result.name} | {outcome} | {beside} | {result.seconds:.0f} |"


def table(results: list[Result]) -> str:
    """The table and a sentence."""
    rows = [line(result) for result in results]
    return "\n".join([*HEAD, *rows, "", summary(rows)])


if __name__ == "__main__":
    sys.exit(main())
