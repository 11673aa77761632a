"""Reads and writes the list of inputs that did not become records.

It sorts the list into one file and counts it, in bounded memory.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping

from pipelines import storage
from pipelines.core.elements import HARMLESS
from pipelines.core.summary import Rejected
from pipelines.inputs import walk
from pipelines.storage import external_sort

MAX_LISTED = 300  # rejects that the summary and the report name at least; all are in rejects/


@dataclasses.dataclass(frozen=True)
class Unwritten:
    """Describes the content of one file of rejects.

    reasons: reason -> rejects. classes: (split, label) -> rejects.
    first: the first MAX_LISTED rejects, and the first of each reason.
    faults: label -> rejects that are a fault of the data; a class folder that is empty counts as one.
    """

    reasons: Mapping[str, int]
    classes: Mapping[tuple[str, str], int]
    first: tuple[Rejected, ...]
    faults: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.reasons.values())


def write(rejects: Iterable[Rejected], path: str) -> Unwritten:
    """Writes rejects to `path` in the order of uri, stage and detail.

    Each line is a JSON object.
    """
    reasons: collections.Counter[str] = collections.Counter()
    classes: collections.Counter[tuple[str, str]] = collections.Counter()
    faults: collections.Counter[str] = collections.Counter()
    first: list[Rejected] = []
    with storage.writing(path) as file:
        for reject in _once(external_sort.ordered(rejects, key=lambda r: (r.uri, r.stage, r.detail))):
            line = json.dumps(dataclasses.asdict(reject), ensure_ascii=False)
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            if len(first) < MAX_LISTED or reject.reason not in reasons:
                first.append(reject)
            reasons[reject.reason] += 1
            classes[reject.split, reject.label] += 1
            if reject.label and (reject.reason not in HARMLESS or reject.reason == walk.EMPTY):
                faults[reject.label] += 1
    return Unwritten(reasons, classes, tuple(first), faults)


def read(folder: str) -> Iterator[Rejected]:
    """Reads rejects from the JSON lines files that a job wrote to a folder."""
    for line in lines(folder):
        yield Rejected(**json.loads(line))


def lines(folder: str) -> Iterator[bytes]:
    """Yields all lines of the files that a job wrote to a folder."""
    for name in storage.children(folder):
        with storage.reading(storage.join(folder, name)) as file:
            while line := file.readline():
                yield line


def _once(rejects: Iterable[Rejected]) -> Iterator[Rejected]:
    """Removes repeated rejects of stage "decode".

    A source that cannot be decoded is rejected by every shard that wants a copy of it. One reject remains for each
    uri and label. The input has to be sorted by uri and stage.
    """
    for (_, stage), same in itertools.groupby(rejects, key=lambda r: (r.uri, r.stage)):
        if stage == "decode":
            yield from {reject.label: reject for reject in same}.values()
        else:
            yield from same
