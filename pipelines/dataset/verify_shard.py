"""Checks one shard against the contract and its ledger.

It finds the records that are wrong, in one pass and with the memory of one record. The SHA-256 shows whether the shard
has changed. The checksums show which record is damaged. The ledger, which names the record at every place, shows which
record was dropped, repeated, moved or added.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Iterator, Sequence

from pipelines import storage
from pipelines.contract import Contract, Shard, ledger, metadata, tf_example, tfrecord
from pipelines.contract.task import MULTI_LABEL, NO_LABEL_ID
from pipelines.contract.tf_example import Example, ExampleError
from pipelines.core.console import progress
from pipelines.core.errors import LedgerError
from pipelines.core.hashing import Hashed
from pipelines.images.image_spec import LONGEST_SIDE
from pipelines.storage import CHUNK
from pipelines.tasks.kinds import KINDS

MOST_TOLD = 10  # problems of one kind that are listed per shard; the rest are counted
SLACK = 64 << 10  # maximum number of bytes of a record that are not pixels
MOST_METADATA = 17 << 10  # maximum number of bytes of a value that travels along: 4,096 characters
_WIDTHS = {"float16": 2, "float32": 4, "uint8": 1}


class Counts:
    """Holds the number of records and of copies per label of a split.

    Attributes:
      records: The number of all records, and of the copies among them.
    """

    def __init__(self) -> None:
        self.stored: collections.Counter[str] = collections.Counter()
        self.copies: collections.Counter[str] = collections.Counter()
        self.records = [0, 0]

    def add(self, read: Example, contract: Contract) -> None:
        """Adds a sound record."""
        is_copy = not read.key.endswith("-000")
        self.records[0] += 1
        self.records[1] += is_copy
        if _is_unknown(read, contract):
            return
        for label in _labels(read, contract):
            self.stored[label] += 1
            self.copies[label] += is_copy


def _labels(read: Example, contract: Contract) -> list[str]:
    """Returns the labels that a record carries; a regression has none."""
    if isinstance(read.label, int):
        return [contract.labels[read.label]]
    return [label for label, value in zip(contract.labels, read.label, strict=False) if value]


def _is_unknown(read: Example, contract: Contract) -> bool:
    """Tells whether a record is written as one of an image without a label."""
    if isinstance(read.label, int):
        return read.label == NO_LABEL_ID and not contract.target_width
    return len(read.label) == contract.target_width and all(map(math.isnan, read.label))


def problems(directory: str, contract: Contract, shard: Shard, counts: Counts) -> Iterator[str]:
    """Yields a sentence for each problem of a shard.

    It adds the records of the shard to `counts`.
    """
    try:
        listed = list(ledger.lines(directory, shard.file, storage.reading))
    except LedgerError as e:
        yield str(e)
        listed = None
    try:
        with storage.reading(storage.join(directory, shard.file)) as file:
            yield from _file_problems(Hashed(file), contract, shard, listed, counts)
    except FileNotFoundError:
        yield f"{shard.file} is missing."
    except OSError as e:
        yield f"{shard.file} cannot be read: {e}."


def _file_problems(
    file: Hashed, contract: Contract, shard: Shard, listed: list[ledger.Line] | None, counts: Counts
) -> Iterator[str]:
    keys: list[str] = []
    wrong: list[str] = []
    is_labelled = contract.unlabelled is None or shard not in contract.unlabelled.shards
    whole = True  # no record is damaged so far; only then the number of records is compared
    for index, frame in enumerate(tfrecord.frames(file.read, most_bytes(contract))):
        progress.advance(1)
        problem, read = frame.problem, None
        try:
            read = tf_example.parse(frame.data)
        except ExampleError as e:
            problem = problem or str(e)
        line = listed[index] if listed and index < len(listed) else None
        problem = problem or _content_problem(read, contract, line, is_labelled)
        keys.append(read.key if read and not frame.problem else "")
        whole = whole and not frame.problem
        if problem:
            wrong.append(f"{shard.file}, record {index} at byte {frame.offset}{_name(line)}: {problem}.")
        elif read:
            counts.add(read, contract)
    misplaced = [] if listed is None else list(_order_problems(shard.file, keys, listed))
    if len(keys) != shard.records and whole:
        misplaced.append(f"{shard.file} should hold {shard.records} records. It holds {len(keys)}.")
    if listed is not None and len(listed) != shard.records:
        misplaced.append(f"ledger/{shard.file}.jsonl should name {shard.records} records. It names {len(listed)}.")
    yield from _few(wrong, f"{shard.file}: {{}} more records are wrong.")
    yield from _few(misplaced, f"{shard.file}: {{}} more records are out of place.")
    while file.read(CHUNK):  # the loop may have stopped at a damaged length
        pass
    changed = file.sha256.hexdigest() != shard.sha256
    if file.size != shard.bytes:
        yield f"{shard.file} should have {shard.bytes} bytes. It has {file.size}."
    elif changed:
        sound = not wrong and not misplaced
        why = " Every record in it is correct and in its place, so a program wrote the file again." if sound else ""
        yield f"{shard.file} has another content than when it was written (SHA-256 differs).{why}"


def _content_problem(
    read: Example | None, contract: Contract, line: ledger.Line | None, is_labelled: bool = True
) -> str:
    """Returns what is wrong with the content of a record, "" if nothing is.

    `read` is None if the record cannot be read. The function does not check whether the record belongs at its place.
    """
    if read is None:
        return ""
    if is_labelled:
        problem = _answer_problem(read, contract)
    else:
        problem = "" if _is_unknown(read, contract) else "it should have no label, and has one"
    if problem := problem or _metadata_problem(read, contract, line):
        return problem
    if not math.isfinite(read.weight) or read.weight < 0:
        return f"its weight should be at least 0 and finite. Received: {read.weight}"
    expected = _image_bytes(contract)
    if expected and len(read.image) != expected:
        return f"the image should have {expected} bytes. It has {len(read.image)}"
    if not expected and not _is_encoded(read.image, contract):
        height, width = contract.image_shape[:2]
        size = f"{height} pixels on the shorter side" if contract.is_uneven else f"{height}x{width} pixels"
        return f"the image should be {contract.encoding.upper()} of {size}"
    if line is None or line.key != read.key:
        return ""
    label = KINDS[contract.task.kind].text(read.label, contract.labels)
    return "" if label == line.label else f"its label is {label!r}. The ledger says {line.label!r}"


def _answer_problem(read: Example, contract: Contract) -> str:
    """Returns what is wrong with the label or the target, "" if nothing is."""
    width = contract.target_width
    if isinstance(read.label, int):
        if width:
            return "it should have a target. It has a label"
        inside = 0 <= read.label < len(contract.labels)
        return "" if inside else f"label {read.label} is outside 0..{len(contract.labels) - 1}"
    if len(read.label) != width:
        return f"it should have a target of {width} numbers. It has {len(read.label)}" if width else "it has no label"
    allowed = (lambda v: v in (0.0, 1.0)) if contract.task.kind == MULTI_LABEL else math.isfinite
    wrong = [value for value in read.label if not allowed(value)]
    return f"its target has the value {wrong[0]}" if wrong else ""


def _metadata_problem(read: Example, contract: Contract, line: ledger.Line | None) -> str:
    """Returns what is wrong with the values that travel along, "" if nothing is."""
    wanted = {column.feature: column for column in contract.metadata}
    if set(read.metadata) != set(wanted):
        return f"it should have the features {sorted(wanted)} of --keep. It has {sorted(read.metadata)}"
    for name, column in wanted.items():
        value, expected = read.metadata[name], type(metadata.MISSING[column.dtype])
        if type(value) is not expected:
            return f"its {name} should be {column.dtype}. Received: {value!r:.80}"
        if isinstance(value, float) and math.isinf(value):
            return f"its {name} should be a finite number, or NaN where it is missing. Received: {value}"
        if line is None or line.key != read.key:
            continue
        said = line.metadata.get(column.name)
        try:
            same = metadata.same(value, metadata.stored(said, column.dtype))
        except (TypeError, ValueError, OverflowError):  # the ledger has a value of another type
            same = False
        if not same:
            return f"its {name} is {value!r:.80}. The ledger says {said!r:.80}"
    return ""


def _order_problems(file: str, keys: Sequence[str], listed: Sequence[ledger.Line]) -> Iterator[str]:
    """Yields a sentence for each record that was dropped, added, repeated or moved.

    A damaged record (key "") is assumed to be the one that belongs at its place.
    """
    wanted = [line.key for line in listed]
    if list(keys) == wanted:
        return
    found = [key or wanted[i] if i < len(wanted) else key for i, key in enumerate(keys)]
    places = {key: i for i, key in enumerate(wanted)}
    first = {key: i for i, key in reversed(list(enumerate(found)))}
    missing = [i for i, key in enumerate(wanted) if key not in first]
    if missing and missing[-1] == len(wanted) - 1 and len(found) == missing[0] == len(wanted) - len(missing):
        until = f"can be read up to record {missing[0] - 1}" if missing[0] else "holds no record"
        name = f"record {missing[0]}{_name(listed[missing[0]])}"
        yield f"{file} {until}: {len(missing)} of {len(wanted)} are missing, from {name} on."
    else:
        for i in missing:
            yield f"{file}, record {i}{_name(listed[i])} is missing: it was dropped or replaced by another."
    for i, key in enumerate(found):
        if key not in places:
            if key:
                yield f"{file}, record {i} (key {key[:40]!r}) is not in the ledger: it is of another shard or dataset."
        elif first[key] != i:
            yield f"{file}, record {i}{_name(listed[places[key]])} repeats record {first[key]}."
    # The records that both have, in both orders: where the orders differ, records were moved.
    kept = [key for i, key in enumerate(found) if key in places and first[key] == i]
    order = [key for key in wanted if key in first]
    for key, expected in zip(kept, order, strict=True):
        if key != expected:
            name = _name(listed[places[key]])
            yield f"{file}, record {first[key]}{name} should be record {places[key]}: records were swapped."


def _few(sentences: Sequence[str], rest: str) -> Iterator[str]:
    yield from itertools.islice(sentences, MOST_TOLD)
    if len(sentences) > MOST_TOLD:
        yield rest.format(len(sentences) - MOST_TOLD)


def _name(line: ledger.Line | None) -> str:
    """Returns the label and path of a record, for users who know images by name."""
    if line is None:
        return ""
    return f" ({line.label}, {line.uri}{f', copy {line.copy}' if line.copy else ''})"


def _image_bytes(contract: Contract) -> int:
    """Returns the size of an image in a raw encoding; 0 for other encodings."""
    height, width, channels = contract.image_shape
    return height * width * channels * _WIDTHS.get(contract.encoding, 0)


def most_bytes(contract: Contract) -> int:
    """Returns an upper limit of the size of a record in bytes.

    An encoded image has at most about twice as many bytes as its pixels.
    """
    height, width, channels = contract.image_shape
    if contract.is_uneven:
        width = LONGEST_SIDE
    kept = sum(MOST_METADATA + len(column.feature.encode()) for column in contract.metadata)
    return height * width * channels * _WIDTHS.get(contract.encoding, 2) + SLACK + kept


def _is_encoded(image: bytes, contract: Contract) -> bool:
    if contract.encoding == "jpeg":
        ends = image[:3] == b"\xff\xd8\xff" and image[-2:] == b"\xff\xd9"
        return ends and (not contract.is_uneven or min(_jpeg_sides(image)) == contract.image_shape[0])
    height, width = contract.image_shape[:2]
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return image[:8] == b"\x89PNG\r\n\x1a\n" and image[16:24] == size


def _jpeg_sides(image: bytes) -> tuple[int, int]:
    """Returns height and width of a JPEG, or zeros where its header does not say them."""
    place = 2
    while place + 9 <= len(image) and image[place] == 0xFF:
        kind, length = image[place + 1], int.from_bytes(image[place + 2 : place + 4])
        if 0xC0 <= kind <= 0xC2:
            return int.from_bytes(image[place + 5 : place + 7]), int.from_bytes(image[place + 7 : place + 9])
        place += 2 + length
    return 0, 0
