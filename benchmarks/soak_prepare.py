"""Kills `prepare` at random moments, looks at what a reader finds, runs it again, and compares the shards.

    SHARDMILL_DATA=/folder python benchmarks/soak_prepare.py [--kills 20] [--seed 0] [--work /folder]
    … --signals SIGTERM SIGINT SIGHUP SIGQUIT

Two datasets of the same photographs, with other balances, shards and encodings, replace one another in one directory.
After each signal (SIGKILL, or one drawn from --signals) no process is left, and the directory holds the old dataset,
whole as `verify` tells, or the new one, or says that it is incomplete. The next run, with another number of workers,
another way of running Beam and files that were created in another order, goes on and comes to the same shards as a run
that nobody ended. A line for each signal; exit status 1 where that is not so.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import measure
import signals

sys.path.insert(0, str(measure.ROOT))

from pipelines import contract
from pipelines.dataset import verify

DATASETS = {
    "a": ["--encoding", "uint8", "--shards", "5", "--balance", "none"],
    "b": ["--encoding", "float16", "--shards", "3", "--balance", "uniform", "--max-copies", "3"],
}
BEAM = (
    [],
    ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
    ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
)


class SoakError(Exception):
    """What should hold does not."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--photographs", type=int, default=600)
    signals.add_option(parser)
    parser.add_argument("--work", default="", help="folder to work in; a temporary one if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=arguments.work or None) as folder:
        try:
            soak(pathlib.Path(folder), arguments, random.Random(arguments.seed))
        except (SoakError, signals.LeftBehindError) as e:
            print(f"failed: {e}")
            return 1
    return 0


def soak(work: pathlib.Path, arguments: argparse.Namespace, draw: random.Random) -> None:
    """Raises SoakError where a reader finds a mixture, or a rerun comes to other shards."""
    folders = [work / "photographs", work / "copy"]
    measure.collect(folders[0], arguments.photographs)
    copy_shuffled(*folders, draw)
    out = work / "out"
    wanted, seconds = {}, {}
    for name in DATASETS:
        began = time.monotonic()
        run(command(name, folders[0], work / "whole" / name, draw))
        seconds[name] = time.monotonic() - began
        wanted[name] = digests(work / "whole" / name)
    print(f"uninterrupted: {', '.join(f'{name} {s:.1f} s' for name, s in seconds.items())}", flush=True)
    run(command("a", folders[0], out, draw))
    name, number = "b", 0
    while number < arguments.kills:
        old = "a" if name == "b" else "b"
        # Twice as often in the last third, where shards are finished and published.
        moment = seconds[name] * draw.choice([draw.random(), draw.uniform(2 / 3, 1.1)])
        killed = signals.end_after(command(name, folders[0], out, draw), measure.ROOT, moment, arguments.signals, draw)
        number += bool(killed)
        state = state_of(out, wanted)
        if killed and state == old and (out / ".shardmill").exists() and draw.random() < 0.3:
            killed += ", and half a file cut"
            damage(out / ".shardmill", draw)
        flags = draw.choice(BEAM) if draw.random() < 0.5 else []
        again = command(name, draw.choice(folders), out, draw) + flags
        run(again)
        if state_of(out, wanted) != name:
            raise SoakError(f"after kill {number} and a rerun the directory holds {state_of(out, wanted)}, not {name}")
        if (out / ".shardmill").exists():
            raise SoakError("a finished run left its working files")
        print(f"kill {number:>3}: {name} over {old}, {killed or 'it had ended'}: a reader finds {state}; "
              f"run again with {' '.join(again[again.index('--workers'):])}: equal", flush=True)  # fmt: skip
        name = old


def command(name: str, photographs: pathlib.Path, out: pathlib.Path, draw: random.Random) -> list[str]:
    return [sys.executable, "-m", "pipelines", "prepare", "--input", str(photographs), "--output", str(out),
            "--name", "x", "--size", "64x64", *DATASETS[name], "--workers", str(draw.choice([1, 2, 4]))]  # fmt: skip


def run(line: list[str]) -> None:
    done = subprocess.run(line, cwd=measure.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SoakError(f"{' '.join(line)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def state_of(out: pathlib.Path, wanted: dict[str, dict[str, str]]) -> str:
    """ "a", "b" or "incomplete": what a reader finds. Raises SoakError for anything else."""
    try:
        contract.load(out)
    except contract.ContractError:
        return "incomplete"
    if problems := list(verify.verify(str(out))):
        raise SoakError(f"there is a contract, but: {problems[:5]}")
    found = digests(out)
    names = [name for name, files in wanted.items() if files == found]
    if not names:
        raise SoakError(f"the shards are those of neither dataset: {found}")
    return names[0]


def digests(out: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.tfrecord-*"))}


def damage(work: pathlib.Path, draw: random.Random) -> None:
    """Cuts one of the unfinished run's notes in half, as a machine that lost its power may."""
    notes = sorted(work.glob("*/*.json"))
    if notes:
        note = draw.choice(notes)
        note.write_bytes(note.read_bytes()[: note.stat().st_size // 2])


def copy_shuffled(source: pathlib.Path, target: pathlib.Path, draw: random.Random) -> None:
    """The same files, created in another order: file systems list them in that or another one."""
    paths = [p for p in source.rglob("*") if p.is_file()]
    draw.shuffle(paths)
    for path in paths:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


if __name__ == "__main__":
    sys.exit(main())
