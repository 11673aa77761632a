"""Defines the usual task: each image has one class."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from pipelines.contract.task import CLASSES, NO_LABEL_ID
from pipelines.tasks.kind import Answer, Edges, Kind


class OneClass(Kind):
    """Takes the text of an answer as the class of the image."""

    name = CLASSES
    is_one_class = True

    def labels(self, text: str) -> tuple[str, ...]:
        return (text,)

    def answer(self, text: str, ids: Mapping[str, int]) -> int:
        return ids[text] if text else NO_LABEL_ID

    def text(self, answer: Answer, labels: Sequence[str]) -> str:
        return labels[answer] if isinstance(answer, int) and answer != NO_LABEL_ID else ""

    def stratum(self, text: str, counts: Mapping[str, int]) -> str:
        del counts
        return text

    def features(self, text: str, edges: Edges) -> tuple[str, ...]:
        del edges
        return (text,)

    def renamed(self, text: str, names: Mapping[str, str]) -> str:
        return names[text]

    def by_label(self, counts: Mapping[str, int]) -> collections.Counter[str]:
        return collections.Counter(counts)
