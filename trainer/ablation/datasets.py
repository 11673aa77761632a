"""Prepares the datasets of an ablation and checks that they are comparable.

`python -m pipelines prepare` makes them in another process, because the trainer must not import Beam. Finished datasets
are kept. The checks read the records themselves: each split must hold the same images in every dataset, and only train
may hold copies.
"""

from __future__ import annotations

import logging
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
from trainer.config import TRAIN_SPLIT, TrainerError
from trainer.tasks.refusal import only_classes

_log = logging.getLogger(__name__)

TEST = "test"
ORIGINAL = "-000"  # the key of a record that is not an augmented copy ends with this

Records = frozenset[tuple[str, int]]  # (key, label id)


def prepare(config: AblateConfig, preparations: Iterable[Preparation]) -> dict[str, str]:
    """Prepares the datasets that do not exist yet and returns name -> directory.

    Raises:
      TrainerError: `prepare` failed (it printed why), or a kept dataset was made from other images.
    """
    directories = {p.name: p for p in preparations}
    checked = False
    for number, (name, preparation) in enumerate(directories.items(), 1):
        directory = directory_of(config, name)
        head = f"dataset {number}/{len(directories)}, {name}"
        if is_whole(directory):
            if not checked:  # one is enough: check_alike compares the sources of all by their contracts
                _check_source(directory)
                checked = True
            _log.info("%s: kept", head)
            continue
        _log.info("%s: prepare %s", head, " ".join(preparation.flags))
        _run(["prepare", *flags(config, preparation)], directory)
    return {name: directory_of(config, name) for name in directories}


def directory_of(config: AblateConfig, name: str) -> str:
    """Returns the directory of the dataset called `name`."""
    return os.path.join(config.output, "data", name)


def flags(config: AblateConfig, preparation: Preparation) -> list[str]:
    """Returns all flags of `prepare` for one dataset.

    The encoding is uint8: the reader restores the same tensors from it, at half the size of float16.
    """
    return [
        "--input", config.data, "--output", directory_of(config, preparation.name), "--name", preparation.name,
        "--size", config.size, "--splits", config.splits, "--encoding", "uint8", "--seed", "0",
        *preparation.flags, *config.more_flags(),
    ]  # fmt: skip


def is_whole(directory: str) -> bool:
    """Tells whether a directory holds a complete dataset.

    A readable contract is enough, because `prepare` writes it last.
    """
    try:
        contracts.load(directory)
    except ContractError:
        return False
    return True


def _run(arguments: list[str], directory: str) -> None:
    """Executes `python -m pipelines` for a dataset.

    Its progress on stderr stays visible. Its summary on stdout goes to a log file next to the dataset.

    Raises:
      TrainerError: the command failed.
    """
    log = Path(directory).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        ended = _pipelines(arguments, stdout=file)
    if ended.returncode:
        raise TrainerError(
            f"`python -m pipelines prepare` ended with status {ended.returncode}; its message is above. Its own "
            "flags, such as --max-reject-rate, go into --prepare-flags."
        )


def _check_source(directory: str) -> None:
    ended = _pipelines(["verify", directory, "--source"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ended.returncode:
        lines = ended.stdout.decode(errors="replace").strip().splitlines()[:5]
        raise TrainerError(
            f"The kept dataset {directory!r} is damaged, or was made of other images: {' '.join(lines)} Remove "
            "the directory of the ablation, or name another --output."
        )


def _pipelines(arguments: list[str], **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """Executes `python -m pipelines` with the same package that this process imported.

    PYTHONPATH makes this independent of the current directory.
    """
    home = str(Path(pipelines.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, env=environment, check=False, **streams)  # noqa: S603


def check_alike(directories: dict[str, str], read: Callable[[str, str], Records]) -> None:
    """Checks that the datasets hold the same images and classes in every split.

    Args:
      directories: name -> directory.
      read: returns the records of (directory, split).

    Raises:
      TrainerError: two datasets differ in their images or classes, a split holds different images in two datasets, or
        a split other than train holds copies.
    """
    (first, of_first), *others = directories.items()
    contract = contracts.load(of_first)
    only_classes(
        contract, "ablate", "Train the settings one by one, and compare them with `python -m trainer compare`."
    )
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
    if split != TRAIN_SPLIT and len(originals) < len(records):
        raise TrainerError(
            f"Split {split!r} of {directory!r} should keep its natural distribution. It holds "
            f"{len(records) - len(originals)} copies. Remove the directory: it is prepared again."
        )
    return originals


def records(directory: str, split: str) -> Records:
    """Returns the key and the label id of every record of a split."""
    from trainer.evaluation import inference

    keys, labels = inference.keys(directory, split)
    return frozenset(zip(keys, map(int, labels), strict=True))


def train_images(directory: str) -> int:
    """Returns the number of train images before balancing.

    An epoch of every variant has this many images.
    """
    return sum(contracts.load(directory).split(TRAIN_SPLIT).natural.values())
