"""Notes which vocabulary made which rows of numbers out of texts.

Words have other numbers in another vocabulary. A model that is trained on rows of one knows nothing of rows of another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject.subject import Split
from trainer.doctor.subject.training import Place
from trainer.doctor.tools import tfdata_steps

LOOKUPS = (keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup)
MOST_CALLS, MOST_ROWS = 16, 8192  # that are noted
Row = tuple[int, ...]
LEAST_WORDS = 4  # of a row; shorter rows are alike by chance
COMPARED = 64  # rows of each split that are looked for
SAME = 0.9  # share of the rows of a split that one vocabulary has made
MOVED = 0.1  # share of the common words with another number, from which on the vocabularies are different
SHARED = 0.5  # share of the words of the smaller vocabulary that both must have, where several columns have one each


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
        self._traced: list[tuple[Any, Any]] = []  # (graph of a function, layer that is called in it)

    def note(self, layer: Any, outputs: Any) -> None:
        """Notes what a layer made in eager mode, or that a function of a dataset calls it."""
        if tf.is_tensor(outputs) and not hasattr(outputs, "numpy"):
            graph = tf.compat.v1.get_default_graph()
            while graph is not None:  # a tf.function inside of the function of the map
                self._traced.append((graph, layer))
                graph = getattr(graph, "outer_graph", None)
        if self.calls >= MOST_CALLS or not hasattr(outputs, "numpy"):
            return
        values = np.asarray(outputs)
        if values.ndim != 2 or values.shape[1] < LEAST_WORDS:
            return
        self.calls += 1
        if layer not in self.known:
            self.known[layer] = self._of_layer(layer)
        self.known[layer].rows.update(_rows(values[:MOST_ROWS]))

    def _of_layer(self, layer: Any) -> Vocabulary:
        words = {word: i for i, word in enumerate(layer.get_vocabulary()) if word not in ("", "[UNK]", -1)}
        return Vocabulary(type(layer).__name__, words, self.places.get(layer))

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
        """Finds training and validation rows that two vocabularies made.

        The rows are known, or the functions of two datasets call other layers of one kind.
        """
        if train is None or validation is None:
            return []
        pairs = list(zip(self._made(train), self._made(validation), strict=False)) or self._of_maps(train, validation)
        for ours, theirs in pairs:
            if ours is not None and theirs is not None and ours is not theirs:
                common = [word for word in ours.numbers if word in theirs.numbers]
                moved = [word for word in common if ours.numbers[word] != theirs.numbers[word]]
                if common and len(moved) >= MOVED * len(common):
                    return [self._finding(ours, theirs, moved, validation.name)]
        return []

    def _of_maps(self, train: Split, validation: Split) -> list[tuple[Vocabulary | None, Vocabulary | None]]:
        """Returns pairs of vocabularies that make the same column of two datasets.

        A layer that both call, as one for the labels, makes no pair.
        """
        ours, theirs = self._called_in(train.dataset), self._called_in(validation.dataset)
        pairs = []
        for one in (layer for layer in ours if layer not in theirs):
            for other in (layer for layer in theirs if layer not in ours and type(layer) is type(one)):
                a, b = self._of_layer(one), self._of_layer(other)
                common = sum(word in b.numbers for word in a.numbers)
                if common >= SHARED * min(len(a.numbers), len(b.numbers)):
                    pairs.append((common, a, b))
        return [(a, b) for _, a, b in sorted(pairs, key=lambda pair: -pair[0])[:1]]

    def _called_in(self, dataset: Any) -> list[Any]:
        """Returns the layers that the functions of a dataset call."""
        if dataset is None or not self._traced:
            return []
        graphs = [
            getattr(getattr(step.dataset._map_func, "function", None), "graph", None)
            for step in tfdata_steps.steps(dataset)
            if hasattr(step.dataset, "_map_func")
        ]
        return [layer for graph, layer in self._traced if any(graph is one for one in graphs)]

    def _finding(self, ours: Vocabulary, theirs: Vocabulary, moved: Sequence[Any], name: str) -> Finding:
        common = sum(word in theirs.numbers for word in ours.numbers)
        word = moved[0]
        finding = catalogue.found(
            "vocabularies-differ",
            f"The training rows were made by one {ours.kind} of {len(ours.numbers):,} words and the {name} rows "
            f"by another one of {len(theirs.numbers):,}. Of {common:,} words that both have, {len(moved):,} have "
            f"other numbers, such as {str(word)!r}: {ours.numbers[word]} and {theirs.numbers[word]}.",
            case="tokenizer" if ours.kind == "Tokenizer" else "layer",
            kind=ours.kind,
            split=name,
        )
        return dataclasses.replace(finding, place=theirs.place.quoted if theirs.place is not None else "")

    def _made(self, split: Split) -> list[Vocabulary | None]:
        """Returns the vocabulary that made the rows of each input of a split.

        It is None if none did, or several. It returns [] where no vocabulary made any.
        """
        if not self.known or not len(split.sample):
            return []
        found = []
        for leaf in keras.tree.flatten(split.sample.inputs):
            values = leaf[:COMPARED]
            rows = []
            if values.ndim == 2 and np.isfinite(values).all() and (values == np.rint(values)).all():
                rows = [row for row in _rows(values) if len(row) >= LEAST_WORDS]
            makers = [one for one in self.known.values() if rows and one.made(rows, values.shape[1])]
            found.append(makers[0] if len(makers) == 1 else None)
        return found if any(one is not None for one in found) else []


def _rows(values: np.ndarray) -> list[Row]:
    """Returns rows of numbers without the zeros at both ends, which are padding."""
    return [tuple(np.trim_zeros(row).tolist()) for row in values.astype(np.int64)]
