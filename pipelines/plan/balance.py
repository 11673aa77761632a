"""Decides how many records each image becomes.

The balance asked for and the rank of an image in the order of hashes decide it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from pipelines.core.errors import BalanceError
from pipelines.core.text import listed
from pipelines.plan.rank_histogram import RankHistogram

NAMED = 20  # classes that an error names


@dataclasses.dataclass(frozen=True)
class Balance:
    """States how many records the classes of train should have.

    mode: "none", "uniform", "sqrt", "temperature" or "counts": see `targets`.
    target: records per class with "uniform"; 0: as many as the largest class has.
    counts: records per class with "counts".
    max_copies: most records per image, including the original.
    """

    mode: str
    temperature: float
    target: int
    counts: Mapping[str, int]
    max_copies: int


@dataclasses.dataclass(frozen=True)
class Copies:
    """Describes how many records each image of a class becomes.

    It becomes `base` records, and one more if its position in hash order is below `threshold`.
    """

    base: int
    threshold: int

    def of(self, position: int) -> int:
        return self.base + (position < self.threshold)


def targets(counts: Mapping[str, int], balance: Balance) -> dict[str, int]:
    """Returns the records per class that the balance asks for, before --max-copies.

    With temperature T they are proportional to count ** (1 / T), with the largest class unchanged (sqrt: T = 2; none: T
    = 1; uniform: T -> infinity), and at least 1, as in Arivazhagan et al. 2019, "Massively Multilingual Neural Machine
    Translation in the Wild".

    Args:
      counts: images per class.

    Raises:
      BalanceError: `balance.counts` names a class without images.
    """
    largest = max(counts.values(), default=0)
    if balance.mode == "none":
        return dict(counts)
    if balance.mode == "uniform":
        return dict.fromkeys(counts, balance.target or largest)
    if balance.mode == "counts":
        unknown = set(balance.counts) - set(counts)
        if unknown:
            raise BalanceError(
                f"--balance counts names classes without images in train: {', '.join(sorted(unknown))}. "
                f"There are: {', '.join(sorted(counts))}."
            )
        return {label: balance.counts.get(label, count) for label, count in counts.items()}
    exponent = 0.5 if balance.mode == "sqrt" else 1 / balance.temperature
    return {label: max(1, round(largest * (count / largest) ** exponent)) for label, count in counts.items()}


def check_counts(counts: Mapping[str, int], labels: Collection[str], source: str) -> None:
    """Checks the classes that --balance counts names before any image is read.

    Args:
      labels: the classes or labels of the input.
      source: the input, for the message.

    Raises:
      BalanceError: the input has no such class.
    """
    unknown = sorted(set(counts) - set(labels))
    if unknown:
        raise BalanceError(
            f"--balance counts names classes that the input {source!r} does not have: {listed(unknown, NAMED)}. There "
            f"are: {listed(sorted(labels), NAMED)}."
        )


def of_strata(images: Mapping[str, int], counts: Mapping[str, int], balance: Balance) -> dict[str, int]:
    """Returns the records that the balance asks for of images of several labels.

    An image counts for the rarest of its labels, and each becomes as many records as `targets` would make of this
    label, as in the repeat factors of Gupta et al. 2019, "LVIS". An image of no label stays one record.

    Args:
      images: rarest label -> number of images; "" has no label.
      counts: label -> number of images that carry it.

    Raises:
      BalanceError: as `targets`.
    """
    wanted = targets(counts, balance)
    return {name: round(n * wanted[name] / counts[name]) if name else n for name, n in images.items()}


def copies_for(target: int, histogram: RankHistogram, max_copies: int) -> Copies:
    """Returns the copies that make `target` records of a class.

    They make as many records as --max-copies allows where `target` is larger.

    Args:
      histogram: the positions of the class's images.
    """
    images = histogram.total
    base, extra = divmod(min(target, max_copies * images), images) if images else (0, 0)
    return Copies(base, histogram.threshold(extra) if extra else 0)
