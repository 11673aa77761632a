"""Notes which vocabulary made which rows of numbers out of texts.

Words have other numbers in another vocabulary. A model that is trained on rows of one knows nothing of rows of another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Split
from trainer.doctor.subject.training import Place

LOOKUPS = (keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup)
MOST_CALLS, MOST_ROWS = 16, 8192  # that are noted
Row = tuple[int, ...]
LEAST_WORDS = 4  # of a row; shorter rows are alike by chance
COMPARED = 64  # rows of each split that are looked for
SAME = 0.9  # share of the rows of a split that one vocabulary has made
MOVED = 0.1  # share of the common words with another number, from which on the vocabularies are different


@dataclasses.dataclass
class Vocabulary:
    """Holds what a layer or a Tokenizer made of texts.

    numbers: word -> number; the words for padding and for unknown words are not in it.
    rows: the rows that it made, without padding.
    """

    kind: str
    numbers: Mapping[str, int]
    place: Place | None
    rows: set[Row] = dataclasses.field(default_factory=set)

    def made(self, rows: Sequence[Row], width: int) -> bool:
        """Tells whether it made nearly all of these rows.

        They may have been cut to a width at either end.
        """
        cut = {part for row in self.rows if len(row) > width for part in (row[:width], row[-width:])}
        return float(np.mean([row in self.rows or row in cut for row in rows])) >= SAME


class Vocabularies:
    """Holds the vocabularies with which a program made rows of numbers.

    places: layer or Tokenizer -> the line that gave it its words.
    """

    def __init__(self) -> None:
        self.places: dict[Any, Place | None] = {}
        self.known: dict[Any, Vocabulary] = {}
        self.calls = 0

    def note(self, layer: Any, outputs: Any) -> None:
        """Notes what a layer made in eager mode."""
        if self.calls >= MOST_CALLS or not hasattr(outputs, "numpy"):
            return
        values = np.asarray(outputs)
        if values.ndim != 2 or values.shape[1] < LEAST_WORDS:
            return
        self.calls += 1
        if layer not in self.known:
            words = {word: i for i, word in enumerate(layer.get_vocabulary()) if word not in ("", "[UNK]")}
            self.known[layer] = Vocabulary(type(layer).__name__, words, self.places.get(layer))
        self.known[layer].rows.update(_rows(values[:MOST_ROWS]))

    def note_sequences(self, tokenizer: Any, sequences: Any) -> None:
        """Notes what a Tokenizer made. Each of its fits makes another vocabulary."""
        if self.calls >= MOST_CALLS:
            return
        self.calls += 1
        key = tokenizer, tokenizer.document_count
        if key not in self.known:
            self.known[key] = Vocabulary("Tokenizer", dict(tokenizer.word_index), self.places.get(tokenizer))
        self.known[key].rows.update(tuple(row) for row in sequences[:MOST_ROWS] if len(row) >= LEAST_WORDS)

    def compare(self, train: Split | None, validation: Split | None) -> list[Finding]:
        """Finds training and validation rows that two vocabularies made."""
        if train is None or validation is None:
            return []
        ours, theirs = self._made(train), self._made(validation)
        if ours is None or theirs is None or ours is theirs:
            return []
        common = [word for word in ours.numbers if word in theirs.numbers]
        moved = [word for word in common if ours.numbers[word] != theirs.numbers[word]]
        if not common or len(moved) < MOVED * len(common):
            return []
        word = moved[0]
        finding = catalogue.found(
            "vocabularies-differ",
            f"The training rows were made by one {ours.kind} of {len(ours.numbers):,} words and the validation rows "
            f"by another one of {len(theirs.numbers):,}. Of {len(common):,} words that both have, {len(moved):,} have "
            f"other numbers, such as {str(word)!r}: {ours.numbers[word]} and {theirs.numbers[word]}.",
            case="tokenizer" if ours.kind == "Tokenizer" else "layer",
            kind=ours.kind,
        )
        return [dataclasses.replace(finding, place=theirs.place.quoted if theirs.place is not None else "")]

    def _made(self, split: Split) -> Vocabulary | None:
        """Returns the vocabulary that made the rows of a split.

        It is None if none did, or several.
        """
        values = split.sample.images[:COMPARED] if len(split.sample) else np.zeros(0)
        if values.ndim != 2 or not np.isfinite(values).all() or (values != np.rint(values)).any():
            return None
        rows = [row for row in _rows(values) if len(row) >= LEAST_WORDS]
        found = [one for one in self.known.values() if rows and one.made(rows, values.shape[1])]
        return found[0] if len(found) == 1 else None


def _rows(values: np.ndarray) -> list[Row]:
    """Returns rows of numbers without the zeros at both ends, which are padding."""
    return [tuple(np.trim_zeros(row).tolist()) for row in values.astype(np.int64)]
