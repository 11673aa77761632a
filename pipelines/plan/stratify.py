"""Gives units of images to splits so that each label is divided by the shares.

An image may have several labels. It is the iterative stratification of Sechidis, Tsoumakas and Vlahavas 2011, "On the
Stratification of Multi-label Data": the label with the fewest images left comes first, and each of its units goes to
the split that lacks most images of this label. Two things differ. A unit may be several images that stay together, and
counts for all of them. And a split that has some images more than its share gets no more units while another one may:
of many labels that are too rare to be divided, each would prefer the largest split.

Units that count for the same are interchangeable, so the result says only how many of them go to each split; which ones
do, their hashes decide. It depends on nothing but the counts.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.core import hashing

# So many images may a split get beyond its share, so that labels are divided well.
MOST_EXTRA, MOST_EXTRA_SHARE = 2, 0.02  # images, or fraction of the images of the split


class Signature(NamedTuple):
    """Says what a unit counts for.

    images: the number of its images. features: (label, number of its images that carry it) pairs, sorted; at least one.
    """

    images: int
    features: tuple[tuple[str, int], ...]

    def text(self) -> str:
        """Returns the signature as text, which `signature` reads."""
        return json.dumps(self, ensure_ascii=False)


def signature(text: str) -> Signature:
    """Reads the text of a signature."""
    images, features = json.loads(text)
    return Signature(images, tuple((label, count) for label, count in features))


def distribute(units: Mapping[str, int], fractions: Mapping[str, float]) -> dict[str, tuple[int, ...]]:
    """Returns how many units of each signature go to each split.

    Example:
      >>> one, two = Signature(1, (("cat", 1),)).text(), Signature(1, (("cat", 1), ("dog", 1))).text()
      >>> distribute({one: 6, two: 2}, {"train": 0.5, "test": 0.5}) == {one: (3, 3), two: (1, 1)}
      True

    Args:
      units: text of a signature -> number of units.
      fractions: split -> share, in total 1.

    Returns:
      text of a signature -> number of units in each split that has a share, in the order of `fractions`.
    """
    units = dict(sorted(units.items()))  # sums of floats, and so ties, do not depend on the order of arrival
    state = _State([share for share in fractions.values() if share > 0])
    known = {text: signature(text) for text in units}
    made = {text: [0] * len(state.shares) for text in units}
    by_label: dict[str, list[str]] = {}
    for text, of in known.items():
        state.add(of, units[text])
        for label, _ in of.features:
            by_label.setdefault(label, []).append(text)
    waiting = set(units)
    heap = [(left, label) for label, left in state.left.items()]
    heapq.heapify(heap)
    while heap:
        left, label = heapq.heappop(heap)
        if left != state.left[label] or not left:
            continue  # an older number of this label, or a label that is done
        texts = [text for text in by_label[label] if text in waiting]
        waiting.difference_update(texts)
        for text in _mixed({text: units[text] for text in texts}, known):
            made[text][state.give(known[text], label)] += 1
        for other in {other for text in texts for other, _ in known[text].features}:
            heapq.heappush(heap, (state.left[other], other))
    return {text: tuple(counts) for text, counts in made.items()}


def _mixed(units: Mapping[str, int], known: Mapping[str, Signature]) -> list[str]:
    """Returns the signatures of units in the order in which splits get them.

    The first units go to the largest split alone, so those of each signature are spread evenly over the order. In a
    regular order, signatures that take turns would go to splits that take turns. Units of many images come first: the
    small ones can make up for what these leave.
    """

    def place(text: str, number: int) -> float:
        return (number + hashing.position(0, "stratify", text, number) / hashing.POSITIONS) / units[text]

    places = [(-known[text].images, place(text, i), text) for text, count in units.items() for i in range(count)]
    return [text for _, _, text in sorted(places)]


class _State:
    """Holds what each split lacks.

    shares: of the splits. left: label -> images that are in no split yet. lacking: label -> images that each split
    lacks of its share. whole: images of any label that each split lacks. extra: images that it may get beyond it.
    """

    def __init__(self, shares: Sequence[float]):
        self.shares = shares
        self.left: dict[str, int] = {}
        self.lacking: dict[str, list[float]] = {}
        self.whole = [0.0] * len(shares)
        self.extra = [0.0] * len(shares)

    def add(self, of: Signature, count: int) -> None:
        """Adds units of a signature to those that are to be given."""
        self.whole = [lack + share * of.images * count for lack, share in zip(self.whole, self.shares, strict=True)]
        self.extra = [max(MOST_EXTRA, MOST_EXTRA_SHARE * lack) for lack in self.whole]
        for label, images in of.features:
            self.left[label] = self.left.get(label, 0) + images * count
            self.lacking[label] = [share * self.left[label] for share in self.shares]

    def give(self, of: Signature, label: str) -> int:
        """Gives a unit to the split that lacks most of a label; returns its index.

        Of equal splits it is the one that lacks most of the unit's other labels.
        """
        wanted, whole = self.lacking[label], self.whole
        others = [self.lacking[other] for other, _ in of.features]

        def need(i: int) -> tuple[bool, float, float, float, int]:
            return whole[i] > -self.extra[i], round(wanted[i], 6), sum(lack[i] for lack in others), whole[i], -i

        best = max(range(len(whole)), key=need)
        for other, images in of.features:
            self.left[other] -= images
            self.lacking[other][best] -= images
        whole[best] -= of.images
        return best
