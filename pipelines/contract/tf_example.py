"""A serialized tf.train.Example of ours, written and read by hand: as much of protobuf's wire format as that takes.

What protobuf itself would read differently from one reader to the next (a feature twice, several values) is an error.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
LISTS = {"image": 1, "key": 1, "weight": 2, "label": 3}  # the number of bytes_list, float_list, int64_list in Feature
_MASK = (1 << 64) - 1


class ExampleError(ValueError):
    """The bytes are not an Example of the four features with a value each."""


class Example(NamedTuple):
    """The values of a record; `image` as it is stored."""

    image: bytes
    label: int
    weight: float
    key: str


def serialize(image: bytes, label: int, weight: float, key: str) -> bytes:
    """A record, to the byte as protobuf writes it deterministically (features by name), at a tenth of its cost.

    label: from 0 on. weight: at most the greatest float32.
    """
    name = key.encode()
    head, middle, tail = _around(len(image), len(name), label)
    return b"".join((head, image, middle, name, tail, struct.pack("<f", weight)))


@functools.lru_cache(maxsize=4096)
def _around(image_size: int, key_size: int, label: int) -> tuple[bytes, bytes, bytes]:
    """What stands before the image, between it and the key, and between that and the weight's four bytes."""

    def before(name: str, size: int) -> bytes:
        """All of a feature but its value, of `size` bytes."""
        prefix = _prefix(1, size)  # of the list's one value; then the list, the feature, and the map's entry
        prefix = _prefix(LISTS[name], len(prefix) + size) + prefix
        prefix = _prefix(1, len(name)) + name.encode() + _prefix(2, len(prefix) + size) + prefix
        return _prefix(1, len(prefix) + size) + prefix

    number = to_varint(label)
    image, key = before("image", image_size), before("key", key_size)
    tail = before("label", len(number)) + number + before("weight", 4)
    return _prefix(1, len(image) + image_size + len(key) + key_size + len(tail) + 4) + image, key, tail


def parse(record: bytes) -> Example:
    """The four values of a record.

    Raises:
      ExampleError: another feature, one twice or none, several values or none, or bytes that are no such message.
    """
    values: dict[str, bytes | int] = {}
    for entry in _messages(_one(record, 1, "features"), 1):
        name = _one(entry, 1, "a feature's name").decode("utf-8", "replace")
        if name not in LISTS or name in values:
            raise ExampleError(f"it should have the features {', '.join(LISTS)}, each once. Received: {name!r:.80}")
        values[name] = _value(name, _one(_one(entry, 2, name), LISTS[name], name))
    missing = [name for name in LISTS if name not in values]
    if missing:
        raise ExampleError(f"it has no {missing[0]}")
    image, label, weight, key = (values[name] for name in ("image", "label", "weight", "key"))
    if not isinstance(image, bytes) or not isinstance(weight, bytes) or not isinstance(key, bytes):
        raise ExampleError("its image, weight and key should be bytes")
    return Example(image, int(label), struct.unpack("<f", weight)[0], key.decode("utf-8", "replace"))


def _value(name: str, listed: bytes) -> bytes | int:
    """The single value of a list; numbers may stand packed in one field or by themselves."""
    found: list[bytes | int] = []
    for number, value in _fields(listed):
        if number != 1:
            raise ExampleError(f"its {name} has the unknown field {number}")
        if name in ("image", "key") or isinstance(value, int):
            found.append(value)
        elif name == "weight":
            found += [value[i : i + 4] for i in range(0, len(value), 4)]
        else:
            at = 0
            while at < len(value):
                integer, at = read_varint(value, at)
                found.append(integer)
    if len(found) != 1 or (name == "weight" and (not isinstance(found[0], bytes) or len(found[0]) != 4)):
        raise ExampleError(f"its {name} should be one value. Received: {len(found)}")
    first = found[0]
    if (name == "label") != isinstance(first, int):
        raise ExampleError(f"its {name} is of another kind")
    return signed(first) if isinstance(first, int) else first


def _one(message: bytes, number: int, what: str) -> bytes:
    """The bytes of a field that the message holds exactly once."""
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
    """(number, value) of every field: an integer for a varint, else the bytes."""
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
            raise ExampleError(f"a field of {length} bytes leads beyond its end")
        yield tag >> 3, message[at : at + length]
        at += length


def _prefix(number: int, size: int) -> bytes:
    """What stands before `size` bytes in field `number`."""
    return bytes([tag(number)]) + to_varint(size)


def to_varint(value: int) -> bytes:
    """Writes a number from 0 on as protobuf does.

    Seven bits a byte, the lowest first; the eighth says that another byte follows.
    """
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads the number at `at`: (the integer, 0 <= i < 2**64, where it ends).

    Raises:
      ExampleError: no number ends there within ten bytes.
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
    """Returns the int64 that an int64_list's varint, 0 <= value < 2**64, stands for."""
    return value - (1 << 64) if value >> 63 else value


def tag(number: int) -> int:
    """Returns the byte that begins field `number`, below 16, where the field holds bytes or a message."""
    return number << 3 | _BYTES
