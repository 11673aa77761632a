"""Notes which vocabulary made which rows of numbers out of texts.

Words have other numbers in another vocabulary. A model that is trained on rows of one knows nothing of rows of another.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Split
from trainer.doctor.subject.training import Place

LOOKUPS = (keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup)
MOST_CALLS, MOST_ROWS = 16, 8192  # that are noted
LEAST_WORDS = 4  # of a row; shorter rows are alike by chance
COMPARED = 64  # rows of each split that are looked for
SAME = 0.9  # share of the rows of a split that one vocabulary has made
MOVED = 0.1  # share of the common words with another number, from which on the vocabularies are different


@dataclasses.dataclass
class Vocabularies:
    """Holds the rows that lookup layers made when the program called them.

    rows: layer -> the rows as bytes. places: layer -> the line of its adapt.
    """

    rows: dict[Any, set[bytes]] = dataclasses.field(default_factory=dict)
    places: dict[Any, Place | None] = dataclasses.field(default_factory=dict)
    calls: int = 0

    def note(self, layer: Any, outputs: Any) -> None:
        """Notes what a layer made in eager mode."""
        if self.calls >= MOST_CALLS or not hasattr(outputs, "numpy"):
            return
        values = np.asarray(outputs)
        if values.ndim != 2 or values.shape[1] < LEAST_WORDS:
            return
        self.calls += 1
        self.rows.setdefault(layer, set()).update(_as_bytes(values[:MOST_ROWS]))

    def compare(self, train: Split | None, validation: Split | None) -> list[Finding]:
        """Finds training and validation rows that two vocabularies made."""
        if train is None or validation is None:
            return []
        ours, theirs = self._made(train), self._made(validation)
        if ours is None or theirs is None or ours is theirs:
            return []
        words, others = (layer.get_vocabulary() for layer in (ours, theirs))
        numbers = {word: i for i, word in enumerate(others)}
        common = [
            (word, i, numbers[word]) for i, word in enumerate(words) if word in numbers and word not in ("", "[UNK]")
        ]
        moved = [one for one in common if one[1] != one[2]]
        if not common or len(moved) < MOVED * len(common):
            return []
        word, here, there = moved[0]
        finding = catalogue.found(
            "vocabularies-differ",
            f"The training rows were made by one {type(ours).__name__} of {len(words):,} words and the validation rows "
            f"by another one of {len(others):,}. Of {len(common):,} words that both have, {len(moved):,} have other "
            f"numbers, such as {str(word)!r}: {here} and {there}.",
            kind=type(ours).__name__,
        )
        place = self.places.get(theirs)
        return [dataclasses.replace(finding, place=place.quoted if place is not None else "")]

    def _made(self, split: Split) -> Any:
        """Returns the layer that made the rows of a split; None if none or several did."""
        values = split.sample.images[:COMPARED] if len(split.sample) else np.zeros(0)
        if values.ndim != 2 or not np.isfinite(values).all() or (values != np.rint(values)).any():
            return None
        rows = _as_bytes(values)
        found = [layer for layer, known in self.rows.items() if np.mean([row in known for row in rows]) >= SAME]
        return found[0] if len(found) == 1 else None


def _as_bytes(values: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(values, np.int64)]
