"""Starts a user's program in a process of its own, and ends it in time.

It imports neither TensorFlow nor Keras: those are the business of the child process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trainer
from pipelines.core.text import listed
from pipelines.options.config_fields import flag
from trainer.config import TrainerError
from trainer.doctor import catalogue
from trainer.doctor.config import DoctorConfig
from trainer.doctor.output import text
from trainer.doctor.output.text import Report
from trainer.doctor.program import folder_copy, notebook, spec
from trainer.doctor.program.spec import Spec
from trainer.doctor.watching.places import Places

GRACE_SECONDS = 60.0  # beyond the time of the child, which ends a program itself where it can: for starting TensorFlow
EXAMINED_SECONDS = 180.0  # from the first training to the answer; `--deep` takes DEEPER times as long
PROVE_SECONDS = 200.0  # more, for the trainings of --prove
DEEPER = 5
TAIL = 12  # lines of a program's output that are shown where it crashed
POLL_SECONDS = 0.1
CODE = """
import gc, sys
sys.path[:0] = [sys.argv[1]]
gc.disable()  # imports make no garbage
from trainer.doctor.program import child
gc.freeze()
gc.enable()
child.main(sys.argv[2])
"""


def examine(config: DoctorConfig) -> tuple[Report, str]:
    """Executes the program of a config; returns its report and the page of --html.

    Raises:
      TrainerError: the file is missing or no program, its folder cannot be copied, or it ended the process itself, as
        a crash does.
    """
    named = os.path.abspath(config.program[0])
    if not os.path.isfile(named):
        raise TrainerError(f"There is no program {config.program[0]!r}.")
    with tempfile.TemporaryDirectory(prefix="shardmill-doctor-", ignore_cleanup_errors=True) as folder:
        try:
            given = _prepared(config, named, folder)
            given.write()
        except OSError as e:
            if e.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise TrainerError(
                f"The copy of the program's folder has no room in {os.path.dirname(folder)!r}. Name another folder in "
                "the variable TMPDIR, or run the program where it is: --full."
            ) from e
        return _run(given)


def _prepared(config: DoctorConfig, named: str, folder: str) -> Spec:
    """Returns what the child is to run, after copying the folder of the program."""
    here, own = os.getcwd(), os.path.dirname(named)
    copies: dict[str, str] = {}
    if config.full:
        notes = ["The program runs where it is (--full): what it writes stays."]
    else:
        for number, part in enumerate(dict.fromkeys([here, own])):
            if number and own.startswith(here + os.sep):
                continue
            copies[folder_copy.mirrored(part, os.path.join(folder, f"copy{number}"))] = part
        notes = ["The program runs in a copy of its folder: what it writes there is thrown away."]
    notes += _handed_over(config.program[1:], Path(named).read_text(encoding="utf-8-sig", errors="replace"))
    program = _copied(named, copies)
    if named.endswith(".ipynb"):
        code, dropped = notebook.to_script(Path(named).read_text(encoding="utf-8-sig"), named)
        program = f"{program.removesuffix('.ipynb')}.notebook.py" if copies else os.path.join(folder, "notebook.py")
        Path(program).write_text(code, encoding="utf-8")
        if dropped:
            notes.append(f"Left out of the notebook: {'; '.join(dropped)}.")
    return Spec(
        program=program,
        named=named,
        arguments=config.program[1:],
        here=here,
        copies=copies,
        folder=folder,
        full=config.full,
        deep=config.deep,
        prove=config.prove,
        reach_seconds=config.wait,
        html=bool(config.html),
        notes=tuple(notes),
    )


def _handed_over(arguments: tuple[str, ...], code: str) -> list[str]:
    """Returns a sentence on options of the doctor that the program got.

    There is none for options that the code names itself.
    """
    own = {flag(field.name) for field in dataclasses.fields(DoctorConfig) if field.name != "program"}
    named = dict.fromkeys(name for name in (word.partition("=")[0] for word in arguments) if name in own)
    given = [name for name in named if name not in code]
    if not given:
        return []
    one = len(given) == 1
    return [
        f"{listed(given, 4)} {'was' if one else 'were'} handed to the program, as all that stands behind its name: "
        "options for the doctor stand before it."
    ]


def _copied(path: str, copies: dict[str, str]) -> str:
    """Returns where the copy of a file lies."""
    for copy, own in copies.items():
        if path.startswith(own + os.sep):
            return copy + path[len(own) :]
    return path


def _run(given: Spec) -> tuple[Report, str]:
    here = _copied(given.here + os.sep, given.copies)
    environment = os.environ | {"MPLBACKEND": "Agg", "KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1"}
    if "PYTHONPATH" in environment:  # a relative part would count from the copy
        parts = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(os.path.join(given.here, part) for part in parts)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    root = os.path.dirname(os.path.dirname(os.path.abspath(trainer.__file__)))
    with open(Path(given.folder, spec.LOG), "wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own Python
            [sys.executable, "-P", "-c", CODE, root, given.folder],
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            in_time = _wait(child, given)
        finally:
            _end(child)
    answer = Path(given.folder, spec.ANSWER)
    if answer.is_file():
        report, html = pickle.loads(answer.read_bytes())  # noqa: S301 - our own process wrote it
        return report, html
    if in_time:
        tail = Path(given.folder, spec.LOG).read_text("utf-8", "replace").splitlines()[-TAIL:]
        raise TrainerError(
            f"The program ended its process (exit status {child.returncode}) before the doctor could answer. Its last "
            "lines:\n" + "\n".join(tail)
        )
    return _endless(given), ""


def _wait(child: subprocess.Popen[bytes], given: Spec) -> bool:
    """Waits for the child, and returns False where its time was over."""
    started, reached = time.monotonic(), None
    while child.poll() is None:
        now = time.monotonic()
        if reached is None and Path(given.folder, spec.REACHED).exists():
            reached = now
        times = DEEPER if given.deep else 1
        if (
            reached is None
            and not given.full
            and now - started > given.reach_seconds + GRACE_SECONDS + (0 if not given.deep else EXAMINED_SECONDS)
        ):
            break
        seconds = (EXAMINED_SECONDS + (PROVE_SECONDS if given.prove else 0)) * times
        if reached is not None and not given.full and now - reached > seconds:
            break
        time.sleep(POLL_SECONDS)
    else:
        return True
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGUSR1)  # the child writes the line where it stands
        time.sleep(1.0)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child with all processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _endless(given: Spec) -> Report:
    """Returns the report on a program that neither trained nor ended."""
    places = Places(given.copies, given.here, {given.program: given.named} if given.named.endswith(".ipynb") else {})
    stood = next((places.of(file, line) for file, line in _stack(given) if _is_users(file, given)), None)
    at = "" if stood is None else f" at {stood}: {stood.code}"
    told = catalogue.found("program-endless", f"It was ended from outside; it stood{at}.")
    return text.build([told], checked=(), not_checked=(), about=given.notes)


def _stack(given: Spec) -> Iterator[tuple[str, int]]:
    """Yields file and line of the frames that the child wrote, the innermost first."""
    written = Path(given.folder, spec.STACK).read_text("utf-8", "replace")
    for file, line in re.findall(r'File "(.+?)", line (\d+)', written):
        yield file, int(line)


def _is_users(file: str, given: Spec) -> bool:
    return file == given.program or any(file.startswith(copy + os.sep) for copy in given.copies)
