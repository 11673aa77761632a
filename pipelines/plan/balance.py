"""Decides how many records each image becomes.

The balance asked for and the rank of an image in the order of hashes decide it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipelines.config import PrepareConfig
from pipelines.core.errors import BalanceError
from pipelines.plan.rank_histogram import RankHistogram


@dataclasses.dataclass(frozen=True)
class Copies:
    """Describes how many records each image of a class becomes.

    It becomes `base` records, and one more if its position in hash order is below `threshold`.
    """

    base: int
    threshold: int

    def of(self, position: int) -> int:
        return self.base + (position < self.threshold)


def targets(counts: Mapping[str, int], config: PrepareConfig) -> dict[str, int]:
    """Returns the records per class that the balance asks for, before --max-copies.

    With temperature T they are proportional to count ** (1 / T), with the largest class unchanged (sqrt: T = 2; none: T
    = 1; uniform: T -> infinity), and at least 1, as in Arivazhagan et al. 2019, "Massively Multilingual Neural Machine
    Translation in the Wild".

    Args:
      counts: images per class.

    Raises:
      BalanceError: `config.counts` names a class without images.
    """
    largest = max(counts.values(), default=0)
    if config.balance == "none":
        return dict(counts)
    if config.balance == "uniform":
        return dict.fromkeys(counts, config.target or largest)
    if config.balance == "counts":
        unknown = set(config.counts) - set(counts)
        if unknown:
            raise BalanceError(
                f"--balance counts names classes without images in train: {', '.join(sorted(unknown))}. "
                f"There are: {', '.join(sorted(counts))}."
            )
        return {label: config.counts.get(label, count) for label, count in counts.items()}
    exponent = 0.5 if config.balance == "sqrt" else 1 / config.temperature
    return {label: max(1, round(largest * (count / largest) ** exponent)) for label, count in counts.items()}


def copies_for(target: int, histogram: RankHistogram, config: PrepareConfig) -> Copies:
    """Returns the copies that make `target` records of a class.

    They make as many records as --max-copies allows where `target` is larger.

    Args:
      histogram: the positions of the class's images.
    """
    images = histogram.total
    base, extra = divmod(min(target, config.max_copies * images), images) if images else (0, 0)
    return Copies(base, histogram.threshold(extra) if extra else 0)
