"""Writes and reads the texts that stand for members of containers.

A member is an image in a zip, for example. Its text stands where the path of a file would: in references, in the ledger
and among the rejects. It says where the member's bytes are, so that any process reads them without an index of the
container.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

PLAIN, STORED, DEFLATED = "plain", "stored", "deflated"
UNREAD = "unread"  # a member that is never opened
PIXELS, ROW = "pixels", "row"
# No path of a local file holds "://": paths are joined with single slashes, and a table's row with it leaves the input.
_ADDRESS = re.compile(r"(.*?)://(plain|stored|deflated|unread|pixels|row)@([0-9a-f]+(?:\+[0-9a-f]+)*)/(.*)", re.DOTALL)
_NUMBERS = {PLAIN: 2, STORED: 4, DEFLATED: 4, UNREAD: 1, PIXELS: 4, ROW: 2}


class Member(NamedTuple):
    """Says where a member of a container is.

    Attributes:
      container: The path of the container.
      name: The member's path inside.
      packing: PLAIN: the bytes stand in the container as they are. STORED, DEFLATED: as a zip has them, behind a
        header of their own. UNREAD: it is only named. PIXELS: as PLAIN, of a picture without a header. ROW: a value
        of a Parquet file.
      offset: Where it begins in the container; of UNREAD its number; of ROW the number of its row.
      packed: Number of its bytes in the container.
      size: Number of its bytes.
      crc: CRC-32 of its bytes, as the container states it; 0 of PLAIN.
      shape: Of PIXELS: height, width and channels.
      column: Of ROW: the number of the column among those that the file stores.
    """

    container: str
    name: str
    packing: str
    offset: int
    packed: int = 0
    size: int = 0
    crc: int = 0
    shape: tuple[int, int, int] = (0, 0, 0)
    column: int = 0


def address(member: Member) -> str:
    """Returns the text that stands for a member.

    >>> address(Member("pets.zip", "cat/1.jpg", DEFLATED, 64, 900, 1000, 255))
    'pets.zip://deflated@64+900+1000+000000ff/cat/1.jpg'
    >>> address(Member("pets.tar", "cat/1.jpg", PLAIN, 512, 1000, 1000))
    'pets.tar://plain@512+1000/cat/1.jpg'
    """
    numbers = f"{member.offset}"
    if member.packing == PLAIN:
        numbers += f"+{member.size}"
    elif member.packing == PIXELS:
        numbers += "".join(f"+{number}" for number in member.shape)
    elif member.packing == ROW:
        numbers += f"+{member.column}"
    elif member.packing != UNREAD:
        numbers += f"+{member.packed}+{member.size}+{member.crc:08x}"
    return f"{member.container}://{member.packing}@{numbers}/{member.name}"


def parse(uri: str) -> Member | None:
    """Returns the member that a text stands for; None for any other path.

    >>> parse("pets.tar://plain@512+1000/cat/1.jpg").name
    'cat/1.jpg'
    """
    found = _ADDRESS.fullmatch(uri) if "://" in uri else None
    if found is None:
        return None
    container, packing, text, name = found.groups()
    numbers = text.split("+")
    if len(numbers) != _NUMBERS[packing] or not all(number.isdecimal() for number in numbers[:3]):
        return None
    values = [int(number) for number in numbers[:3]]
    if packing == UNREAD:
        return Member(container, name, packing, values[0])
    if packing == PLAIN:
        return Member(container, name, packing, values[0], values[1], values[1])
    if packing == ROW:
        return Member(container, name, packing, values[0], column=values[1])
    if packing == PIXELS:
        shape = (values[1], values[2], int(numbers[3]))
        return Member(container, name, packing, values[0], math.prod(shape), math.prod(shape), shape=shape)
    return Member(container, name, packing, values[0], values[1], values[2], int(numbers[3], 16))


def readable(uri: str) -> str:
    """Returns the path of a member as container/name; any other path as it is.

    >>> readable("in/pets.tar://plain@512+1000/cat/1.jpg")
    'in/pets.tar/cat/1.jpg'
    """
    member = parse(uri)
    return uri if member is None else f"{member.container}/{member.name}"
