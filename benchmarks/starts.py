"""How long commands take on a few photographs, where starting and ending is most of the time.

    SHARDMILL_DATA=/folder python benchmarks/starts.py [--runs 3] [--only prepare train]

`prepare` keeps transform graphs in a cache folder. The row "prepare, first run" has an empty one, and the others have
one in which a run of the same policy has kept its graph. Each round runs the imports of the libraries and every
command, one after the other, as whole processes. The commands are divided by the imports of the same round. CPU-seconds
are those of a control group where one can be made (as root, on Linux), and else those of the process tree as
`measure.py` sees it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import measure

COUNT = 100
FIRST = "prepare, first run"
FOUND = 1  # the exit status of `doctor` where it has found something
TENSORFLOW = "import tensorflow"
ALL = "import tensorflow, apache_beam, tensorflow_transform"
GROUP = pathlib.Path("/sys/fs/cgroup/cpuacct")  # version 1
UNIFIED = pathlib.Path("/sys/fs/cgroup")  # version 2


def commands(work: pathlib.Path) -> dict[str, tuple[str, list[str]]]:
    """Returns name -> (the imports it is divided by, arguments of Python)."""
    photos, data, run, other = (str(work / name) for name in ("photos", "data", "run", "other"))
    some = sorted(map(str, (work / "photos").glob("*/*.jpg")))[:3]
    prepare = ["-m", "pipelines", "prepare", "--input", photos, "--output", str(work / "new"), "--name", "x"]
    train = ["-m", "trainer", "train", "--data", data, "--output", str(work / "trained"), "--epochs", "1"]
    return {
        FIRST: (ALL, prepare),
        "prepare": (ALL, prepare),
        "prepare uint8": (ALL, [*prepare, "--encoding", "uint8"]),
        "train": (TENSORFLOW, train),
        "evaluate": (TENSORFLOW, ["-m", "trainer", "evaluate", "--model", run, "--data", data]),
        "predict": (TENSORFLOW, ["-m", "trainer", "predict", "--model", run, *some]),
        "doctor": (TENSORFLOW, ["-m", "trainer", "doctor", "--data", data]),
        "verify": (TENSORFLOW, ["-m", "pipelines", "verify", data]),
        "inspect": (TENSORFLOW, ["-m", "pipelines", "inspect", data]),
        "look": (TENSORFLOW, ["-m", "pipelines", "look", photos]),
        "compare": (TENSORFLOW, ["-m", "trainer", "compare", run, other]),
        "--help": (TENSORFLOW, ["-m", "trainer", "--help"]),
    }


def collect(folder: pathlib.Path) -> None:
    """Copies COUNT photographs from all classes into class folders."""
    sources = measure.photographs()
    for source in sources[:: max(1, len(sources) // COUNT)][:COUNT]:
        target = folder / source.parent.name / f"{source.parent.parent.name}-{source.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


@contextlib.contextmanager
def control_group() -> Iterator[pathlib.Path | None]:
    """Yields the folder of a new control group; None where none can be made."""
    parent = GROUP if GROUP.is_dir() else UNIFIED
    group = parent / f"shardmill-starts-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        yield group if (group / "cgroup.procs").exists() else None
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def used(group: pathlib.Path) -> float:
    """Returns the CPU-seconds that a control group has used."""
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    fields = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


def cost(arguments: list[str], group: pathlib.Path | None, cache: pathlib.Path) -> tuple[float, float]:
    """Returns the wall seconds and the CPU-seconds of one process and all that it starts."""
    command, env = [sys.executable, *arguments], {"XDG_CACHE_HOME": str(cache)}
    if group is None:
        whole = measure.run(command, env=env)
        return whole.wall, whole.cpu
    inside = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    before, started = used(group), time.monotonic()
    whole_env = {**os.environ, **env}
    done = subprocess.run(inside, cwd=measure.ROOT, stdin=subprocess.DEVNULL, capture_output=True, env=whole_env)
    wall = time.monotonic() - started
    if done.returncode and not ("doctor" in command and done.returncode == FOUND):
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr.decode()[-2000:]}")
    end = time.monotonic() + 5
    while (group / "cgroup.procs").read_text() and time.monotonic() < end:  # what the command did not wait for
        time.sleep(0.05)
    return wall, used(group) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="commands to measure; default: all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, control_group() as group:
        work = pathlib.Path(temporary)
        collect(work / "photos")
        chosen = {name: pair for name, pair in commands(work).items() if not args.only or name in args.only}
        make = [
            ["-m", "pipelines", "prepare", "--input", str(work / "photos"), "--output", str(work / "data")],
            ["-m", "pipelines", "prepare", "--input", str(work / "photos"), "--output", str(work / "raw"),
             "--encoding", "uint8"],
            *(["-m", "trainer", "train", "--data", str(work / "data"), "--output", str(work / name), "--epochs", "1",
               "--seed", str(seed)] for seed, name in enumerate(("run", "other"))),
        ]  # fmt: skip
        for arguments in make:
            cost(arguments, group, work / "cache")
        imports: dict[str, list[tuple[float, float]]] = {code: [] for _, (code, _) in sorted(chosen.items())}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
        for _ in range(args.runs):
            for code, costs in imports.items():
                costs.append(cost(["-c", code], group, work / "cache"))
            for name, (_, arguments) in chosen.items():
                for made in ("new", "trained", "empty"):
                    shutil.rmtree(work / made, ignore_errors=True)
                found[name].append(cost(arguments, group, work / ("empty" if name == FIRST else "cache")))
    print(f"{COUNT} photographs, {args.runs} rounds, CPU by {'control group' if group else 'process tree'}")
    rows = {code: (costs, costs) for code, costs in imports.items()}
    rows |= {name: (costs, imports[chosen[name][0]]) for name, costs in found.items()}
    print(f"{'':<56} {'wall s':<22} {'CPU-s':<22} {'wall / imports':<22} CPU / imports")
    for name, (costs, base) in rows.items():
        values = [[c[i] for c in costs] for i in (0, 1)]
        ratios = [[c[i] / b[i] for c, b in zip(costs, base, strict=True)] for i in (0, 1)]
        print(f"{name:<56} " + " ".join(f"{measure.spread(v):<22}" for v in (*values, *ratios)))


if __name__ == "__main__":
    main()
