"""Writes and reads serialized tf.train.Example messages without protobuf.

The module implements as much of protobuf's wire format as our records need. A message that two protobuf readers may
read differently (a feature that occurs twice, several values) is an error.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pipelines.contract import metadata

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field numbers in Feature: 1 is bytes_list, 2 float_list, 3 int64_list.
LISTS = {"image": 1, "key": 1, "weight": 2, "label": 3, "target": 2}
ANSWERS = ("label", "target")  # a record has one of them
_NAMES = f"image, key, weight and one of {', '.join(ANSWERS)}"
_MASK = (1 << 64) - 1


class ExampleError(ValueError):
    """Says that the bytes are no Example of the features of a record."""


class Example(NamedTuple):
    """Holds the values of a record; `image` has the bytes as stored.

    Attributes:
      label: The label id, or the values of `target`.
      metadata: Feature -> its value, of the features whose names begin with `metadata.PREFIX`.
    """

    image: bytes
    label: int | tuple[float, ...]
    weight: float
    key: str
    metadata: Mapping[str, int | float | str] = MappingProxyType({})


def serialize(
    image: bytes,
    label: int | Sequence[float],
    weight: float,
    key: str,
    kept: Mapping[str, int | float | str] = MappingProxyType({}),
) -> bytes:
    """Serializes a record.

    The bytes are equal to those of protobuf's deterministic serialization (features sorted by name), at a tenth of its
    cost. Only columns of which one's name begins with the other's may stand in another order.

    Args:
      image: The bytes to store.
      label: The label id, or -1 for none; or one or more numbers, float32, which are stored as `target` in its place.
      weight: The sample weight, at most the largest float32.
      key: The record's key.
      kept: Feature -> value of the columns that travel along: int64, float32 or text.
    """
    feature, value = ("label", to_varint(label & _MASK)) if isinstance(label, int) else ("target", floats(label))
    values = {"image": image, "key": key.encode(), feature: value, "weight": struct.pack("<f", weight)}
    lists = [LISTS[name] for name in values]
    for name, one in kept.items():
        values[name], number = _encoded(one)
        lists.append(number)
    sizes = tuple((name, number, len(data)) for (name, data), number in zip(values.items(), lists, strict=True))
    return b"".join(part for name, before in _around(sizes) for part in (before, values[name]))


def _encoded(value: int | float | str) -> tuple[bytes, int]:
    """Returns the bytes of a value, and the number of the list that holds it."""
    if isinstance(value, str):
        return value.encode(), 1
    return (floats([value]), 2) if isinstance(value, float) else (to_varint(value & _MASK), 3)


def floats(values: Sequence[float]) -> bytes:
    """Returns numbers as float32, little-endian."""
    return struct.pack(f"<{len(values)}f", *values)


@functools.lru_cache(maxsize=4096)
def _around(sizes: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, bytes], ...]:
    """Returns the bytes that stand before each value of a record.

    The features are sorted by name.

    Args:
      sizes: (name, number of its list, bytes of its value) of each feature.
    """

    def before(name: str, number: int, size: int) -> bytes:
        """Returns all bytes of a feature that come before its value of `size` bytes."""
        prefix = _prefix(1, size)  # of the list's only value; next come the list, the feature and the map's entry
        prefix = _prefix(number, len(prefix) + size) + prefix
        encoded = name.encode()
        prefix = _prefix(1, len(encoded)) + encoded + _prefix(2, len(prefix) + size) + prefix
        return _prefix(1, len(prefix) + size) + prefix

    # Protobuf sorts the keys of a map by their bytes.
    ordered = sorted(sizes, key=lambda feature: feature[0].encode())
    prefixes = [(name, before(name, number, size)) for name, number, size in ordered]
    whole = sum(len(prefix) for _, prefix in prefixes) + sum(size for *_, size in sizes)
    (first, prefix), *others = prefixes
    return (first, _prefix(1, whole) + prefix), *others


def parse(record: bytes) -> Example:
    """Parses a record.

    Raises:
      ExampleError: The record has an unknown feature, a feature is missing or occurs twice, a feature other than
        `target` does not have exactly one value, or the bytes are not such a message. Which features travel along, and
        of which type, is for the caller to check.
    """
    values: dict[str, bytes | int] = {}
    kept: dict[str, int | float | str] = {}
    for entry in _messages(_one(record, 1, "features"), 1):
        name = _one(entry, 1, "a feature's name").decode("utf-8", "replace")
        if name.startswith(metadata.PREFIX) and name not in kept:
            kept[name] = _kept(_one(entry, 2, name), name)
            continue
        if name not in LISTS or name in values:
            raise ExampleError(f"it should have the features {_NAMES}, each once. Received: {name!r:.80}")
        values[name] = _value(name, _one(_one(entry, 2, name), LISTS[name], name))
    answers = [values.pop(name) for name in ANSWERS if name in values]
    missing = [name for name in ("image", "weight", "key") if name not in values]
    if missing or len(answers) != 1:
        raise ExampleError(f"it has no {missing[0]}" if missing else f"it should have one of {' and '.join(ANSWERS)}")
    image, weight, key = (values[name] for name in ("image", "weight", "key"))
    if not isinstance(image, bytes) or not isinstance(weight, bytes) or not isinstance(key, bytes):
        raise ExampleError("its image, weight and key should be bytes")
    [answer] = answers
    label = answer if isinstance(answer, int) else struct.unpack(f"<{len(answer) // 4}f", answer)
    return Example(image, label, struct.unpack("<f", weight)[0], key.decode("utf-8", "replace"), kept)


def _kept(feature: bytes, name: str) -> int | float | str:
    """Returns the single value of a feature that travels along."""
    found = _listed(feature, 0, len(feature)).values
    if len(found) != 1:
        raise ExampleError(f"its {name} should be one value. Received: {len(found)}")
    [value] = found
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as e:
        raise ExampleError(f"its {name} should be UTF-8") from e


class Feature(NamedTuple):
    """Holds the values of one feature of any Example.

    Attributes:
      values: Its values: bytes, integers, or floats.
      at: Of bytes: where each value begins in the record. Else ().
    """

    values: tuple[bytes | int | float, ...]
    at: tuple[int, ...]


def features(record: bytes) -> dict[str, Feature]:
    """Parses an Example that any program wrote, by the names of its features.

    Of a feature that stands there twice the last one counts, as in protobuf.

    Raises:
      ExampleError: The bytes are no Example.
    """
    found: dict[str, Feature] = {}
    for number, start, end in _spans(record, 0, len(record)):
        if number != 1:
            raise ExampleError(f"it has the unknown field {number}")
        for _, begin, stop in _spans(record, start, end):
            entry = {n: (first, last) for n, first, last in _spans(record, begin, stop)}
            first, last = entry.get(1, (0, 0))
            name = record[first:last].decode("utf-8", "replace")
            found[name] = _listed(record, *entry.get(2, (0, 0)))
    return found


def _listed(record: bytes, start: int, end: int) -> Feature:
    """Reads the list of a feature that stands at these bytes of a record."""
    values: list[bytes | int | float] = []
    at: list[int] = []
    for kind, first, last in _spans(record, start, end):
        if kind == 1:
            for _, one, two in _spans(record, first, last):
                values.append(record[one:two])
                at.append(one)
            continue
        for number, value in _fields(record[first:last]):
            if number != 1 or kind not in (2, 3):
                raise ExampleError(f"a list of it has the unknown field {number}")
            if isinstance(value, int):
                values.append(signed(value))
            elif kind == 2 and len(value) % 4 == 0:
                values += struct.unpack(f"<{len(value) // 4}f", value)
            else:
                position = 0
                while position < len(value):
                    integer, position = read_varint(value, position)
                    values.append(signed(integer))
    return Feature(tuple(values), tuple(at))


def _spans(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (number, first, last) of the fields between two positions.

    All of them should hold bytes or messages.
    """
    while start < end:
        tag, start = read_varint(message, start)
        length, start = read_varint(message, start)
        if tag & 7 != _BYTES or start + length > end:
            raise ExampleError(f"byte {start} begins no message")
        yield tag >> 3, start, start + length
        start += length


def _value(name: str, listed: bytes) -> bytes | int:
    """Returns the single value of a list, or all values of `target` as bytes.

    The wire format allows numbers to be packed into one field or to have a field each; this function reads both forms.
    """
    found: list[bytes | int] = []
    for number, value in _fields(listed):
        if number != 1:
            raise ExampleError(f"its {name} has the unknown field {number}")
        if name in ("image", "key") or isinstance(value, int):
            found.append(value)
        elif name in ("weight", "target"):
            found += [value[i : i + 4] for i in range(0, len(value), 4)]
        else:
            at = 0
            while at < len(value):
                integer, at = read_varint(value, at)
                found.append(integer)
    if name == "target":
        if not found or any(isinstance(value, int) or len(value) != 4 for value in found):
            raise ExampleError("its target should be numbers of four bytes each, at least one")
        return b"".join(value for value in found if isinstance(value, bytes))
    if len(found) != 1 or (name == "weight" and (not isinstance(found[0], bytes) or len(found[0]) != 4)):
        raise ExampleError(f"its {name} should be one value. Received: {len(found)}")
    first = found[0]
    if (name == "label") != isinstance(first, int):
        raise ExampleError(f"its {name} has another type")
    return signed(first) if isinstance(first, int) else first


def _one(message: bytes, number: int, what: str) -> bytes:
    """Returns the bytes of a field that the message holds exactly once."""
    found = [value for n, value in _fields(message) if n == number]
    if len(found) != 1 or not isinstance(found[0], bytes):
        raise ExampleError(f"it should hold {what} once")
    return found[0]


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    for n, value in _fields(message):
        if n != number or not isinstance(value, bytes):
            raise ExampleError(f"it has the unknown field {n}")
        yield value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yields (number, value) of every field of a message.

    The value of a varint is an integer; all other values are bytes.
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            integer, at = read_varint(message, at)
            yield tag >> 3, integer
            continue
        if kind == _BYTES:
            length, at = read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ExampleError(f"byte {at} begins no field")
        if at + length > len(message):
            raise ExampleError(f"a field of {length} bytes extends beyond its end")
        yield tag >> 3, message[at : at + length]
        at += length


def _prefix(number: int, size: int) -> bytes:
    """Returns the tag and the length that precede `size` bytes in field `number`."""
    return bytes([tag(number)]) + to_varint(size)


def to_varint(value: int) -> bytes:
    """Encodes a non-negative integer as a varint.

    Each byte holds seven bits, the lowest ones first. Its eighth bit is set if another byte follows.
    """
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Decodes the varint that begins at position `at`.

    Returns:
      The integer, 0 <= i < 2**64, and the position after its last byte.

    Raises:
      ExampleError: No integer ends within ten bytes.
    """
    value = 0
    for i in range(10):
        if at + i >= len(data):
            break
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value & _MASK, at + i + 1
    raise ExampleError(f"a number at byte {at} does not end")


def signed(value: int) -> int:
    """Returns the int64 that a varint 0 <= value < 2**64 of an int64_list encodes."""
    return value - (1 << 64) if value >> 63 else value


def tag(number: int) -> int:
    """Returns the byte that begins field `number`.

    The field holds bytes or a message, and its number is below 16.
    """
    return number << 3 | _BYTES
