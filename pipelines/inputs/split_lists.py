"""Reads lists of the images of each split, as data sets are published with.

A line names an image by its path below the input or by the last parts of that path. Its ending may be missing, and a
label or a number may follow it: `apple_pie/1005649`, `banded/banded_0002.jpg`, `YoYo/v_1.jpg 101`. A file that ends in
.json has a list of such texts, or an object of lists.
"""

from __future__ import annotations

import collections
import json
import os
import re
from collections.abc import Iterator, Sequence

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import cut, plural
from pipelines.inputs.rules import IMAGE_SUFFIXES, reject
from pipelines.inputs.tables.formats import text_encoding

MOST_BYTES = 1 << 30  # of one list
MOST_TOLD = 200  # characters of a line


class SplitLists:
    """Finds the split of an image in lists.

    Args:
      lists: (file, split) pairs.

    Raises:
      SourceError: A list cannot be read, or names no image.
    """

    def __init__(self, lists: Sequence[tuple[str, str]]) -> None:
        self._lines: list[tuple[str, str, str]] = []  # (file, split, text)
        self._named: dict[str, list[int]] = {}  # what a line may mean -> numbers of lines
        self._found: set[int] = set()
        for file, split in lists:
            before = len(self._lines)
            for text in _read(file):
                for name in {plain_name(text), plain_name(re.split(r"[\s,;]", text, maxsplit=1)[0])}:
                    self._named.setdefault(name, []).append(len(self._lines))
                self._lines.append((file, split, text))
            if len(self._lines) == before:
                raise SourceError(f"The list {file!r} of --split-lists has no line.")

    def describe(self) -> str:
        """Returns a sentence that says which lists are read, and how many lines they have."""
        lines = collections.Counter((split, file) for file, split, _ in self._lines)
        said = (f"{split} is {file!r} ({plural(count, 'line')})" for (split, file), count in lines.items())
        return f"Takes the splits from lists: {', '.join(said)}. An image that none of them names is left aside."

    def assign(self, source: Source) -> Source | Rejected:
        """Returns a source in the split of the list that names it.

        An image that no list names, or lists of several splits, is a reject.
        """
        parts = plain_name(source.key).split("/")
        numbers = next((n for i in range(len(parts)) if (n := self._named.get("/".join(parts[i:])))), [])
        self._found.update(numbers)
        splits = sorted({self._lines[number][1] for number in numbers})
        if not splits:
            return reject(source.uri, "left-aside", "No list of --split-lists names it.", source.label)
        if len(splits) > 1:
            said = f"Lists of several splits name it: {', '.join(splits)}."
            return reject(source.uri, "contradictory-lists", said, source.label)
        return source._replace(split=splits[0])

    def missing(self) -> Iterator[Rejected]:
        """Yields the lines that name none of the images that were assigned."""
        for number, (file, split, text) in enumerate(self._lines):
            if number not in self._found:
                detail = f"The list {file!r} of split {split} names it, and the input has no such image."
                yield reject(cut(text, MOST_TOLD), "missing", detail)


def _read(file: str) -> Iterator[str]:
    """Yields the lines of a list that name something."""
    try:
        data = storage.read_input(file, MOST_BYTES)
    except storage.StorageError as e:
        raise SourceError(f"The list {file!r} of --split-lists cannot be read: {e}.") from e
    text = data.decode(text_encoding.find(data, file), "replace")
    if file.lower().endswith(".json"):
        yield from _texts(file, text)
        return
    yield from (stripped for line in text.splitlines() if (stripped := line.strip()) and stripped[0] != "#")


def _texts(file: str, text: str) -> Iterator[str]:
    """Yields the texts of a list in JSON, or of an object of such lists.

    Food-101 has a list for each class.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise SourceError(f"The list {file!r} of --split-lists is no JSON: {e}.") from e
    values = list(found.values()) if isinstance(found, dict) else [found]
    names = [name for value in values for name in (value if isinstance(value, list) else [value])]
    if not all(isinstance(name, str) for name in names):
        raise SourceError(
            f"The list {file!r} of --split-lists should be a JSON list of paths, or an object of such lists. Write a "
            "text file with a path in each line."
        )
    yield from filter(None, map(str.strip, names))


def plain_name(path: str) -> str:
    """Returns a path without ./ before it and without the ending of an image."""
    path = path.strip().strip("\"'").replace("\\", "/").lstrip("./")
    stem, ending = os.path.splitext(path)
    return stem if ending.lower() in IMAGE_SUFFIXES else path
