"""Defines the task in which each image has any number of labels, or none.

The text of an answer has the labels in their order, with | between them, such as `cat|dog`. A | and a backslash that
belong to a label have a backslash before them. The text of no label is | alone.
"""

from __future__ import annotations

import ast
import collections
import functools
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.contract.task import MULTI_LABEL, NO_LABEL, labels_text
from pipelines.core.text import is_label
from pipelines.tasks.kind import Answer, Edges, Kind

MOST_PAIRS = 200


class MultiLabel(Kind):
    """Takes the text of an answer as a set of labels."""

    name = MULTI_LABEL

    def labels(self, text: str) -> tuple[str, ...]:
        return parsed(text)

    def answer(self, text: str, ids: Mapping[str, int]) -> tuple[float, ...]:
        values = [0.0 if text else math.nan] * len(ids)
        for label in parsed(text):
            values[ids[label]] = 1.0
        return tuple(values)

    def text(self, answer: Answer, labels: Sequence[str]) -> str:
        values = () if isinstance(answer, int) else answer
        if any(map(math.isnan, values)):
            return ""
        return text_of(label for label, value in zip(labels, values, strict=True) if value)

    def stratum(self, text: str, counts: Mapping[str, int]) -> str:
        """Returns the rarest of the labels; of equally rare ones the first by name."""
        return min(parsed(text), key=lambda label: (counts.get(label, 0), label), default="")

    def features(self, text: str, edges: Edges) -> tuple[str, ...]:
        del edges
        return parsed(text) or ("",)  # those without a label are divided like a label

    def described(self, originals: Mapping[str, Mapping[str, int]], targets: Sequence[str]) -> dict[str, Any]:
        """Returns how often labels occur together.

        "pairs" has [label, label, images], the most frequent first, and at most MOST_PAIRS. "labels_an_image" has the
        number of images by the number of their labels.
        """
        del targets
        everything = sum((collections.Counter(counts) for counts in originals.values()), collections.Counter[str]())
        found = sorted(pairs(everything).items(), key=lambda item: (-item[1], item[0]))
        number: collections.Counter[int] = collections.Counter()
        for text, count in everything.items():
            number[len(parsed(text))] += count
        return {
            "pairs": [[*pair, count] for pair, count in found[:MOST_PAIRS]],
            "labels_an_image": {str(labels): count for labels, count in sorted(number.items())},
        }

    def renamed(self, text: str, names: Mapping[str, str]) -> str:
        return text_of(names[label] for label in parsed(text) if names[label])


def text_of(labels: Iterable[str]) -> str:
    """Returns the text of a set of labels."""
    return labels_text(labels)


@functools.lru_cache(maxsize=1 << 16)
def parsed(text: str) -> tuple[str, ...]:
    """Returns the labels of a text of `text_of`."""
    if text == NO_LABEL:
        return ()
    return tuple(re.sub(r"\\(.)", r"\1", part) for part in re.findall(r"(?:[^\\|]|\\.)+", text, re.DOTALL))


def pairs(counts: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Returns how many images carry both of two labels, by the pair.

    Args:
      counts: Answer -> number of images.
    """
    found: dict[tuple[str, str], int] = {}
    for text, count in counts.items():
        for pair in itertools.combinations(parsed(text), 2):
            found[pair] = found.get(pair, 0) + count
    return found


def of_cell(cell: Any, separator: str) -> tuple[str, ...] | str:
    """Returns the labels in a cell of a table.

    Args:
      cell: A list, text with separators, text that is a list in JSON, a number, or nothing.
      separator: What stands between labels; "" if each text is one label.

    Returns:
      The labels, each once, or a part of a sentence that says what is wrong.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ()
    if isinstance(cell, str) and is_list(cell):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            cell = _python_list(cell)
    elif isinstance(cell, str):
        cell = cell.split(separator) if separator else [cell]
    parts = list(cell) if isinstance(cell, (list, tuple)) else [cell]
    found = [_label(part) for part in parts]
    if None in found:
        return f"should have labels that are texts or numbers. Received: {cell!r:.80}"
    labels = tuple(dict.fromkeys(label for label in found if label))
    bad = [label for label in labels if not is_label(label)]
    return f"should have labels without control characters. Received: {bad[0]!r:.80}" if bad else labels


def is_list(text: str) -> bool:
    """Tells whether a cell looks like a list in brackets."""
    return text.strip()[:1] == "[" and text.strip()[-1:] == "]"


def _python_list(text: str) -> Any:
    """Returns the labels of a list as Python writes it, ['a', 'b'], or without quotes."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.strip()[1:-1].split(",")


def _label(part: Any) -> str | None:
    if isinstance(part, bytes):
        part = part.decode("utf-8", "replace")
    if isinstance(part, bool) or not isinstance(part, (str, int, float)):
        return None
    return str(part).strip()
