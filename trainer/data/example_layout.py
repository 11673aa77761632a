"""Where the image, label and weight lie inside a serialized tf.train.Example, so that they can be copied unparsed.

The records of a raw encoding differ in their values only: what lies between (tags, lengths, feature names) is the same
in every record of one length. `Layout.of` walks one record; `Layout.fits` compares another with it in a microsecond.
"""

from __future__ import annotations

import dataclasses
import math
import mmap

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract

_FIRST = 0x0A  # the tag of field 1 with a length: `features`, a map's entry and its key, a list's values
_SECOND = 0x12  # of field 2: a map entry's value
_LISTS = {
    "image": 0x0A,
    "key": 0x0A,
    "weight": 0x12,
    "label": 0x1A,
}  # Feature: bytes_list 1, float_list 2, int64_list 3


class LayoutError(ValueError):
    """The bytes are not an Example of single values written the usual way (which protobuf may read all the same)."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Of records of `size` bytes. All places are (start, stop), counted from the start of the record.

    values: feature -> place of its value: the image's or the key's bytes, the label's varint, the weight's float.
    between: the places of all other bytes, and what they should be.
    """

    size: int
    values: dict[str, tuple[int, int]]
    between: tuple[tuple[int, int, bytes], ...]

    @classmethod
    def of(cls, data: bytes) -> Layout:
        """Walks one record.

        Raises:
          LayoutError: another feature, a feature twice, several values or none, unpacked numbers, or broken lengths.
        """
        at, end = _enter(data, 0, len(data), _FIRST)
        if end != len(data):
            raise LayoutError(f"features should be the whole record of {len(data)} bytes. Received: {end}")
        values: dict[str, tuple[int, int]] = {}
        while at < end:
            entry, entry_end = _enter(data, at, end, _FIRST)
            key, key_end = _enter(data, entry, entry_end, _FIRST)
            name = data[key:key_end].decode("utf-8", "replace")
            if name not in _LISTS or name in values:
                raise LayoutError(f"a record should have {', '.join(_LISTS)}, each once. Received: {name!r}")
            start, stop = key_end, entry_end
            for tag in (_SECOND, _LISTS[name], _FIRST):  # the entry's value, its list, the list's one value
                start, inner = _enter(data, start, stop, tag)
                if inner != stop:
                    raise LayoutError(f"{name} should be one value")
            values[name] = (start, stop)
            at = entry_end
        if len(values) != len(_LISTS):
            raise LayoutError(f"a record should have {', '.join(_LISTS)}. Received: {', '.join(values)}")
        return cls(len(data), values, _between(data, values))

    def fits(self, buffer: mmap.mmap | bytes, at: int) -> bool:
        """Whether the record of `size` bytes at `at` has its values at these places."""
        return all(buffer[at + start : at + stop] == expected for start, stop, expected in self.between)


def expected(contract: Contract) -> list[Layout]:
    """How Shardmill writes the records of a raw encoding: a layout for each number of bytes that a label may take."""
    pixels = math.prod(contract.image_shape) * tf.as_dtype(contracts.RAW_DTYPES[contract.encoding]).size
    layouts = []
    for bits in range(0, max(1, (len(contract.labels) - 1).bit_length()), 7):
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(pixels)])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1 << bits])),
            "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])),
            "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(contracts.KEY_BYTES)])),
        }
        message = tf.train.Example(features=tf.train.Features(feature=feature))
        layouts.append(Layout.of(message.SerializeToString(deterministic=True)))
    # Longer by one byte, a record's length may take a byte more, before the image: rare enough to leave it out.
    return [layout for layout in layouts if layout.values["image"] == layouts[-1].values["image"]]


def to_varint(value: int) -> bytes:
    """A number from 0 on as protobuf writes it: seven bits a byte, the lowest first; the eighth tells of another."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def varint(data: bytes) -> int:
    """The integer of a packed list of one int64.

    Raises:
      LayoutError: the bytes are not one varint.
    """
    value = 0
    for i, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if i + 1 != len(data):
                break
            return value - (1 << 64) if value >= 1 << 63 else value
    raise LayoutError(f"a label should be one number. Received: {data.hex()}")


def _enter(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """(start, stop) of what `tag` and a length at `at` hold, inside `end`."""
    if at >= end or data[at] != tag:
        raise LayoutError(f"byte {at} should be the tag {tag:#x}")
    length = 0
    for i, byte in enumerate(data[at + 1 : min(end, at + 6)]):
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            start = at + 2 + i
            if start + length > end:
                break
            return start, start + length
    raise LayoutError(f"the length at byte {at + 1} should lead to a place in the record")


def _between(data: bytes, values: dict[str, tuple[int, int]]) -> tuple[tuple[int, int, bytes], ...]:
    edges = [0, *(edge for place in sorted(values.values()) for edge in place), len(data)]
    return tuple((a, b, data[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)
