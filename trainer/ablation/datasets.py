"""The prepared datasets of an ablation: made by `python -m pipelines prepare`, kept, and held against one another.

The trainer must not import Beam, so that preparing is another process. What makes the variants comparable is checked on
the records themselves: the same images in each split, and no copies outside of train.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pipelines
from pipelines import contract as contracts
from pipelines.contract import Contract, ContractError
from trainer.ablation.config import AblateConfig
from trainer.ablation.variants import Preparation
from trainer.config import TrainerError

TRAIN, TEST = "train", "test"
ORIGINAL = "-000"  # the end of the key of a record that is no copy

Records = frozenset[tuple[str, int]]  # (key, label id)


def prepare(config: AblateConfig, preparations: Iterable[Preparation], say: Callable[[str], None]) -> dict[str, str]:
    """Makes what is not there yet; name -> directory.

    Raises:
      TrainerError: `prepare` failed (it said why), or the images are not those that kept datasets were made of.
    """
    directories = {p.name: p for p in preparations}
    checked = False
    for number, (name, preparation) in enumerate(directories.items(), 1):
        directory = directory_of(config, name)
        head = f"dataset {number}/{len(directories)}, {name}"
        if is_whole(directory):
            if not checked:  # of one: that all are made of the same images is checked by their contracts
                _check_source(directory)
                checked = True
            say(f"{head}: kept")
            continue
        say(f"{head}: prepare {' '.join(preparation.flags)}")
        _run(["prepare", *flags(config, preparation)], directory)
    return {name: directory_of(config, name) for name in directories}


def directory_of(config: AblateConfig, name: str) -> str:
    """Where the dataset called `name` lies."""
    return os.path.join(config.output, "data", name)


def flags(config: AblateConfig, preparation: Preparation) -> list[str]:
    """All flags of `prepare`. 8-bit pixels are read back as the same tensors, at half the size."""
    return [
        "--input", config.data, "--output", directory_of(config, preparation.name), "--name", preparation.name,
        "--size", config.size, "--splits", config.splits, "--encoding", "uint8", "--seed", "0",
        *preparation.flags, *config.more_flags(),
    ]  # fmt: skip


def is_whole(directory: str) -> bool:
    """Whether a dataset is there; its contract is written last."""
    try:
        contracts.load(directory)
    except ContractError:
        return False
    return True


def _run(arguments: list[str], directory: str) -> None:
    """`python -m pipelines`: what it counts is shown, what it sums up goes to a log beside the dataset."""
    log = Path(directory).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        ended = _pipelines(arguments, stdout=file)
    if ended.returncode:
        raise TrainerError(
            f"`python -m pipelines prepare` ended with status {ended.returncode}; it said why above. Flags of its own, "
            "such as --max-reject-rate, go into --prepare-flags."
        )


def _check_source(directory: str) -> None:
    ended = _pipelines(["verify", directory, "--source"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ended.returncode:
        lines = ended.stdout.decode(errors="replace").strip().splitlines()[:5]
        raise TrainerError(
            f"The kept dataset {directory!r} is not whole, or not of these images any more: {' '.join(lines)} Remove "
            "the directory of the ablation, or name another --output."
        )


def _pipelines(arguments: list[str], **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """`python -m pipelines`: the package that this process has found, wherever the command runs."""
    home = str(Path(pipelines.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, env=environment, check=False, **streams)  # noqa: S603


def check_alike(directories: dict[str, str], read: Callable[[str, str], Records]) -> None:
    """Refuses to compare what cannot be compared.

    Args:
      directories: name -> directory.
      read: the records of (directory, split).

    Raises:
      TrainerError: two datasets are of other images or classes, a split of theirs holds other images, or one that is
        not trained on holds copies.
    """
    (first, of_first), *others = directories.items()
    contract = contracts.load(of_first)
    if TEST not in contract.splits or not contract.split(TEST).records:
        raise TrainerError(f"--splits should give {TEST!r} a share: the variants are compared on it.")
    for name in contract.splits:
        expected = _originals(of_first, name, read)
        for other, directory in others:
            _check_contracts(first, contract, other, contracts.load(directory))
            found = _originals(directory, name, read)
            if found != expected:
                raise TrainerError(
                    f"Split {name!r} of {other!r} should hold the images of {first!r}: {len(expected - found)} are "
                    f"missing and {len(found - expected)} are others. Remove the directory {directory!r}: it is "
                    "prepared again."
                )


def _check_contracts(first: str, one: Contract, other: str, two: Contract) -> None:
    for what in ("source_digest", "labels", "image_shape", "seed"):
        if getattr(one, what) != getattr(two, what):
            raise TrainerError(
                f"The datasets {first!r} and {other!r} should have one {what}. Received: {getattr(one, what)!r} and "
                f"{getattr(two, what)!r}. Remove the directory of the ablation, or name another --output."
            )
    if set(one.splits) != set(two.splits):
        raise TrainerError(f"{first!r} has the splits {', '.join(one.splits)}, and {other!r} {', '.join(two.splits)}.")


def _originals(directory: str, split: str, read: Callable[[str, str], Records]) -> Records:
    records = read(directory, split)
    originals = frozenset(record for record in records if record[0].endswith(ORIGINAL))
    if split != TRAIN and len(originals) < len(records):
        raise TrainerError(
            f"Split {split!r} of {directory!r} should keep its natural distribution. It holds "
            f"{len(records) - len(originals)} copies. Remove the directory: it is prepared again."
        )
    return originals


def records(directory: str, split: str) -> Records:
    """Key and label id of every record."""
    from trainer.evaluation import inference

    keys, labels = inference.keys(directory, split)
    return frozenset(zip(keys, map(int, labels), strict=True))


def train_images(directory: str) -> int:
    """Images of the train split before balancing: what an epoch of every variant is as long as."""
    return sum(contracts.load(directory).split(TRAIN).natural.values())
