"""Defines what a kind of task says of the text of an image's answer.

The text is canonical: equal answers have equal texts. It stands in the ledger, in the rejects and on the pages.
"""

from __future__ import annotations

import abc
import collections
from collections.abc import Mapping, Sequence
from typing import Any

Answer = int | tuple[float, ...]  # a label id, or the values of `target`


class Kind(abc.ABC):
    """Says what a kind of task makes of the texts of answers.

    Attributes:
      name: Of `contract.task.KINDS`.
      is_balanced: Whether --balance can mean something.
      is_one_class: Whether each image has exactly one label, which is its text.
      has_numbers: Whether an image has numbers, by whose quantiles splits are drawn.
      has_labels: Whether labels have ids, of which there has to be one.
    """

    name = ""
    is_balanced = True
    is_one_class = False
    has_labels = True
    has_numbers = False

    @abc.abstractmethod
    def labels(self, text: str) -> tuple[str, ...]:
        """Returns the labels that an answer counts for, each once."""

    @abc.abstractmethod
    def answer(self, text: str, ids: Mapping[str, int]) -> Answer:
        """Returns what a record holds of an answer.

        Args:
          ids: Label -> its id.
        """

    @abc.abstractmethod
    def text(self, answer: Answer, labels: Sequence[str]) -> str:
        """Returns the text of what a record holds.

        Args:
          labels: By their ids.
        """

    def unknown(self, targets: int) -> str:
        """Returns the text of the answer of an image without a label.

        A record then holds the label -1, or a target of NaNs.

        Args:
          targets: The number of the numbers of an image.
        """
        del targets
        return ""

    def is_unknown(self, text: str) -> bool:
        """Tells whether a text is that of an image without a label."""
        return not text

    @abc.abstractmethod
    def stratum(self, text: str, counts: Mapping[str, int]) -> str:
        """Returns what an image counts for when train is balanced.

        Args:
          counts: Label -> images of train that carry it.
        """

    @abc.abstractmethod
    def features(self, text: str, edges: Edges) -> tuple[str, ...]:
        """Returns what an image counts for when splits are drawn.

        Each split should get its share of each of them.

        Args:
          edges: What `edges` made of all values.
        """

    def values(self, text: str) -> tuple[float, ...]:
        """Returns the numbers of an answer; () if it has none."""
        del text
        return ()

    def renamed(self, text: str, names: Mapping[str, str]) -> str:
        """Returns an answer whose labels have other names.

        Args:
          names: Label -> its name; "" leaves the label out.
        """
        del names
        return text

    def described(self, originals: Mapping[str, Mapping[str, int]], targets: Sequence[str]) -> dict[str, Any]:
        """Returns what the report says of the answers; nothing of one class an image.

        Args:
          originals: split -> text of an answer -> stored originals.
          targets: names of the numbers, if images have numbers.
        """
        del originals, targets
        return {}

    def by_label(self, counts: Mapping[str, int]) -> collections.Counter[str]:
        """Returns counts by label, made of counts by answer."""
        found: collections.Counter[str] = collections.Counter()
        for text, count in counts.items():
            for label in self.labels(text):
                found[label] += count
        return found


Edges = Sequence[Sequence[int]]  # for each number of an answer: positions that divide its values; see `regression`


class Answers(dict[str, Answer]):
    """Maps texts of answers to what records hold of them.

    A value is computed when it is first asked for.

    Attributes:
      labels: The labels, in the order of their ids.
    """

    def __init__(self, kind: Kind, labels: Sequence[str]):
        super().__init__()
        self.labels = tuple(labels)
        self._kind, self._ids = kind, {label: i for i, label in enumerate(labels)}

    def __missing__(self, text: str) -> Answer:
        self[text] = found = self._kind.answer(text, self._ids)
        return found

    def __reduce__(self) -> Any:
        return Answers, (self._kind, self.labels)
