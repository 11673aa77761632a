"""Makes the records of one shard in their order, with bounded memory.

A source is read and decoded once for a shard. Each record is made when its turn is near, and so are the copies of an
image, one by one: their number counts neither against the deadline of an image nor in memory. Between its first and its
last record in the shard, the pixels of a source are kept, in a temporary file if they are many.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.core.elements import Header, Item, Made
from pipelines.core.errors import IncompleteError
from pipelines.core.summary import Rejected, may_pass
from pipelines.images.image_spec import LONGEST_SIDE, ImageSpec
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks.kind import Answer
from pipelines.workers.pool import Outcome, Workers
from pipelines.workers.worker_process import TaskLostError

# At most WINDOW records are under way for each worker, and at most UNDER_WAY bytes of all (but one record for each
# worker). BATCH are requested at a time. These are enough to hide uneven decoding times and this process's own work.
WINDOW, BATCH, UNDER_WAY = 32, 8, 64 << 20
IN_MEMORY = 16 << 20  # bytes of kept pixels; more are in a temporary file


def in_order(
    items: Sequence[Item], split: str, answers: Mapping[str, Answer], spec: RecordSpec, workers: Workers
) -> Iterator[tuple[Item, Made | Rejected]]:
    """Makes records in parallel and yields them in order.

    All records of a source that cannot be used are the same reject.

    Raises:
      IncompleteError: the worker that makes a copy of a source that was decoded ends twice.
    """
    size = _most_bytes(items, spec.image)
    window = max(workers.count, min(WINDOW * workers.count, UNDER_WAY // (2 * size)))  # 2: a request and its answer
    batch = max(1, min(BATCH, window // 4))  # a batch goes to one worker: there are some for each
    upcoming = iter(items)
    with _Kept() as kept:
        asked = _Asked(items, split, answers, spec, workers, kept)
        near: collections.deque[_Record] = collections.deque()
        while True:
            while len(near) <= window - batch and (new := [_Record(i) for i in itertools.islice(upcoming, batch)]):
                asked.ask(new)
                near += new
            if not near:
                return
            record = near.popleft()
            yield record.item, asked.outcome(record)


def _most_bytes(items: Sequence[Item], image: ImageSpec) -> int:
    """Returns the bytes of the pixels of the largest image.

    An image that is longer than LONGEST_SIDE becomes a reject.
    """
    if not image.is_uneven:
        return image.height * image.width * image.channels
    headers = (Header(*item.ref.header) for item in items)
    longest = max((image.longer_side(header.height, header.width) for header in headers), default=image.height)
    return image.height * min(longest, LONGEST_SIDE) * image.channels


@dataclasses.dataclass
class _Record:
    """Holds a record that is near its turn, and its outcome once it is requested."""

    item: Item
    outcome: Outcome | None = None


@dataclasses.dataclass
class _Source:
    """Describes a source that has records in the shard.

    left: its records that have not had their turn. waiting: those of them that are near and need its pixels. place:
    where its pixels are kept, -1 if they are not. reject: why it has no pixels.
    """

    left: int
    waiting: list[_Record] = dataclasses.field(default_factory=list)
    place: int = -1
    reject: Rejected | None = None
    begun: bool = False


class _Asked:
    """Requests the records of a shard from workers, once their source is decoded."""

    def __init__(
        self,
        items: Sequence[Item],
        split: str,
        answers: Mapping[str, Answer],
        spec: RecordSpec,
        workers: Workers,
        kept: _Kept,
    ):
        self._split, self._answers, self._spec, self._workers, self._kept = split, answers, spec, workers, kept
        counted = collections.Counter(item.ref.key for item in items)
        self._sources = {key: _Source(count) for key, count in counted.items()}

    def ask(self, records: Sequence[_Record]) -> None:
        """Requests records, but for those whose source is being decoded."""
        firsts, copies = [], []
        for record in records:
            source = self._sources[record.item.ref.key]
            if not source.begun:
                source.begun = True
                firsts.append(record)
            elif source.place >= 0:
                copies.append(record)
            elif source.reject is None:
                source.waiting.append(record)
        self._submit("make", firsts)
        self._submit("make_copy", copies)

    def outcome(self, record: _Record) -> Made | Rejected:
        """Returns a record, or why its source cannot be used. It waits for it."""
        source = self._sources[record.item.ref.key]
        made: Made | Rejected
        if source.reject is not None:
            made = source.reject
        elif source.place >= 0:
            made = self._copy(record)
        else:
            made = self._first(record)
            if isinstance(made, Rejected):
                source.reject = made
            elif source.left > 1:
                source.place = self._kept.put(made.pixels)
                made = made._replace(pixels=b"")
                self._submit("make_copy", source.waiting)
            source.waiting = []
        source.left -= 1
        if not source.left:
            self._kept.free(source.place)
            del self._sources[record.item.ref.key]
        return made

    def _first(self, record: _Record) -> Made | Rejected:
        try:
            made: Made | Rejected = _outcome(record).result()
        except TaskLostError as e:
            ref = record.item.ref
            return Rejected(ref.uri, ref.label, self._split, ref.digest, "decode", e.reason, str(e))
        return made

    def _copy(self, record: _Record) -> Made:
        try:
            made: Made = _outcome(record).result()
        except TaskLostError as e:  # no bytes of a stranger are to blame, and the original may be written
            raise IncompleteError(
                f"Copy {record.item.copy} of {record.item.ref.uri!r} cannot be made: its worker process ended twice, "
                "as where memory is short. Run the same command again: it goes on from there."
            ) from e
        return made

    def _submit(self, task: str, records: Sequence[_Record]) -> None:
        # Copies are made from our own pixels: they need no deadline, and only a lost worker makes them fail.
        deadline = self._spec.limits.image_timeout if task == "make" else None
        for start in range(0, len(records), BATCH):  # each part goes to one worker
            part = records[start : start + BATCH]
            items = [self._request(task, r.item) for r in part]
            outcomes = self._workers.submit(task, (self._spec,), items, deadline, may_pass)
            for record, outcome in zip(part, outcomes, strict=True):
                record.outcome = outcome

    def _request(self, task: str, item: Item) -> tuple[Any, ...]:
        source, answer = self._sources[item.ref.key], self._answers[item.ref.label]
        if task == "make":
            return item.ref, item.copy, answer, self._split, source.left > 1
        return self._kept.get(source.place), item.ref, item.copy, answer


def _outcome(record: _Record) -> Outcome:
    if record.outcome is None:
        raise RuntimeError(f"{record.item.ref.key!r}: the record was never requested")
    return record.outcome


class _Kept:
    """Keeps pixels in memory or in a temporary file."""

    def __init__(self) -> None:
        self._places: list[tuple[int, int]] = []  # where each begins and how long it may be
        self._lengths: list[int] = []
        self._free: list[int] = []
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (closed by __exit__)

    def put(self, pixels: bytes) -> int:
        """Returns the place where the pixels are kept."""
        place = next((p for p in reversed(self._free) if self._places[p][1] >= len(pixels)), -1)
        if place >= 0:
            self._free.remove(place)
            self._lengths[place] = len(pixels)
        else:
            place, end = len(self._places), sum(self._places[-1]) if self._places else 0
            self._places.append((end, len(pixels)))
            self._lengths.append(len(pixels))
        self._file.seek(self._places[place][0])
        self._file.write(pixels)
        return place

    def get(self, place: int) -> bytes:
        self._file.seek(self._places[place][0])
        return self._file.read(self._lengths[place])

    def free(self, place: int) -> None:
        """Gives a place away; does nothing if it is -1."""
        if place >= 0:
            self._free.append(place)

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
