"""Runs of `prepare` as a user starts it, compared by the digests of their shards; and what they leave behind."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence

import psutil

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MARK = "SHARDMILL_ENGINE_TEST"  # in the environment of every process that comes of a test
LIMIT = 900.0  # seconds that one run may take, on a machine with other work too
SAMPLE = 400  # drawn images, where there are no photographs
# No image is too slow on a machine with other work too.
FLAGS = ("--name=photos", "--size=64x64", "--workers=2", "--image-timeout=600")
IN_TABLES = 72  # images of the tables of labels and of numbers: few, because each engine reads them two times more


DIFFERENT, NOT_SHOWN = 3, 2  # exit statuses; 1 is Python's own, for a defect of the test


class TestFailedError(Exception):
    """What was to be shown was not seen: an engine did not come up, took too long, did not recover, left something."""


class DifferentShardsError(TestFailedError):
    """An engine made other shards."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is prepared: its name, the input and the options of it."""

    name: str
    input: pathlib.Path
    flags: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run: seconds it took, the SHA-256 of each compared file, and what it wrote to stderr.

    The compared files are the shards; with folds folds.json, too.
    """

    case: str
    engine: str
    seconds: float
    shards: dict[str, str]
    said: str

    @property
    def digest(self) -> str:
        """One digest for all shards and their names."""
        lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(self.shards.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


class Bench:
    """A folder of its own, the inputs, and the runs so far; says what it does.

    classes: the case of class folders. earlier, grown: a table of few images, and one of more that continues the local
    dataset of the former by --like. tasks: several labels an image with columns that travel along, images without
    a label, groups and folds; and numbers with folds.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.environment = {**os.environ, MARK: uuid.uuid4().hex}
        self.runs: list[Run] = []
        self.classes = Case("classes", self._input(), ("--balance=uniform", "--shards=8"))
        self.tasks = (self._labels(), self._numbers())
        self.earlier, self.grown = self._with_earlier()

    def _input(self) -> pathlib.Path:
        data = os.environ.get("SHARDMILL_DATA")
        if data:
            photographs = pathlib.Path(data) / "trashnet"
            say(f"Input: the photographs in {photographs}.")
            return photographs
        say(f"Input: {SAMPLE} drawn images; SHARDMILL_DATA=/folder (with trashnet/ in it) takes photographs.")
        drawn = self.folder / "sample"
        command = [sys.executable, "-m", "pipelines", "sample", "--output", str(drawn), "--count", str(SAMPLE)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return drawn

    def _labels(self) -> Case:
        """A table of several labels: every ninth image has none yet, every fifth no age, and three are one group."""
        rows = []
        for n, path in enumerate(self._some()):
            labels = (path.split("/")[0], *(["often"] * (n % 2)), *(["rare"] * (n % 12 == 0)))
            age = "" if n % 5 == 0 else n
            rows.append((path, "" if n % 9 == 8 else "|".join(labels), f"camera-{n % 4}", age, f"group-{n // 3}"))
        flags = ("--labels=multi", "--keep=site,age", "--unlabelled=rows", "--folds=3", "--balance=uniform")
        return self._case("labels", ("path", "labels", "site", "age", "group"), rows, flags)

    def _with_earlier(self) -> tuple[Case, Case]:
        """A table of every third image, and a table of all that keeps its splits, classes and normalization."""
        rows = [(path, path.split("/")[0], f"group-{n // 2}") for n, path in enumerate(self._some())]
        heading = ("path", "label", "group")
        earlier = self._case("earlier", heading, rows[::3], ("--splits=train=0.6,validation=0.2,test=0.2",))
        return earlier, self._case("grown", heading, rows, (f"--like={self.folder / 'local-earlier'}",))

    def _numbers(self) -> Case:
        """A table of two numbers."""
        rows = [(path, n / 8, 1000 - n * n, n % 3) for n, path in enumerate(self._some())]
        flags = ("--target=near,far", "--keep=site", "--folds=2x2", "--encoding=uint8")
        return self._case("numbers", ("path", "near", "far", "site"), rows, flags)

    def _some(self) -> list[str]:
        """The paths of some images below the input."""
        folder = self.classes.input
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        some = found[:: max(1, len(found) // IN_TABLES)][:IN_TABLES]
        return [path.relative_to(folder).as_posix() for path in some]

    def _case(
        self, name: str, heading: tuple[str, ...], rows: Sequence[tuple[object, ...]], flags: tuple[str, ...]
    ) -> Case:
        path = self.folder / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([heading, *rows])
        return Case(name, path, (*flags, "--shards=2", f"--image-root={self.classes.input}"))

    def start(self, name: str, *flags: str, case: Case | None = None) -> tuple[subprocess.Popen[str], pathlib.Path]:
        """Starts `prepare` of a case (that of classes) for the engine called `name`.

        Gives the process and its output folder.
        """
        case = case or self.classes
        out = self.folder / f"{name}-{case.name}"
        command = [sys.executable, "-m", "pipelines", "prepare", f"--input={case.input}", f"--output={out}"]
        process = subprocess.Popen(
            [*command, *FLAGS, *case.flags, *flags],
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=out.with_name(f"{out.name}.stderr").open("w"),
        )
        return process, out

    def prepare(self, name: str, engine: str, *flags: str) -> None:
        """Runs `prepare` of every case to its end and notes it.

        The first engine is called local, and makes what `grown` continues, too.
        """
        earlier = (self.earlier,) if name == "local" else ()
        for case in (self.classes, *self.tasks, *earlier, self.grown):
            say(f"{engine}: prepare {case.name} {' '.join(flags)}")
            started = time.monotonic()
            process, out = self.start(name, *flags, case=case)
            self.finished(process, out, engine, started, case)

    def finished(
        self,
        process: subprocess.Popen[str],
        out: pathlib.Path,
        engine: str,
        started: float,
        case: Case | None = None,
    ) -> Run:
        """Waits for a run and notes it; TestFailedError where it fails."""
        try:
            status = process.wait(max(1.0, started + LIMIT - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(60)
            raise TestFailedError(f"{engine} took longer than {LIMIT:.0f} s.") from None
        said = out.with_name(f"{out.name}.stderr").read_text()
        if status:
            raise TestFailedError(f"{engine}: prepare ended with status {status}:\n{said[-4000:]}")
        compared = sorted([*out.glob("*.tfrecord-*"), *out.glob("folds.json")])
        shards = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in compared}
        run = Run((case or self.classes).name, engine, time.monotonic() - started, shards, said)
        self.runs.append(run)
        self.compare()
        say(f"{engine}: {run.case}, {run.seconds:.1f} s, {len(shards)} files, digest {run.digest[:16]}")
        return run

    def compare(self) -> None:
        """DifferentShardsError unless every run made the same shards as the first of its case."""
        firsts: dict[str, Run] = {}
        for run in self.runs:
            first = firsts.setdefault(run.case, run)
            if not first.shards:
                raise DifferentShardsError("The local run made no shard.")
            differing = [n for n in {**first.shards, **run.shards} if first.shards.get(n) != run.shards.get(n)]
            if differing:
                raise DifferentShardsError(
                    f"{run.engine} and {first.engine} differ in {len(differing)} files of {run.case}: {differing}"
                )

    def check_nothing_left(self, limit: float = 30.0) -> None:
        """TestFailedError if a process of these runs outlives them for longer than `limit` seconds."""
        until = time.monotonic() + limit
        while left := self._processes():
            if time.monotonic() > until:
                raise TestFailedError(f"These processes were left behind: {left}")
            time.sleep(0.5)
        say("No process is left.")

    def _processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.environment[MARK] and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        return found

    def kill_rest(self) -> None:
        """Ends what a failed test has left."""
        for line in self._processes():
            with contextlib.suppress(psutil.Error):
                psutil.Process(int(line.split()[0])).kill()

    def table(self) -> str:
        """Case, engine, time and digest of every run."""
        width = max(len(run.engine) for run in self.runs)
        ordered = sorted(self.runs, key=lambda run: run.case)
        return "\n".join(f"  {r.case:<7}  {r.engine:<{width}}  {r.seconds:7.1f} s  {r.digest}" for r in ordered)


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def bench(title: str) -> Iterator[Bench]:
    """A test of engines: compares what its body runs and shows it; another status than 0 where it is not so."""
    say(f"== {title}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))  # who has a time limit leaves nothing behind
    with tempfile.TemporaryDirectory(prefix="shardmill-engines-") as folder:
        made = Bench(pathlib.Path(folder))
        try:
            yield made
            made.check_nothing_left()
        except TestFailedError as e:
            say(f"FAILED: {e}")
            sys.exit(DIFFERENT if isinstance(e, DifferentShardsError) else NOT_SHOWN)
        finally:
            made.kill_rest()
        say(f"The shards of all {len(made.runs)} runs are equal, case by case and byte by byte:\n{made.table()}")
