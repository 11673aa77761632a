"""Finds out the encoding of a table's bytes."""

from __future__ import annotations

import codecs
import re

from pipelines.core.errors import TableError

_SAMPLE = 4096  # bytes that show UTF-16 without a byte order mark
_CHUNK = 1 << 20
# What Windows-1252 has above ASCII in names of Western European languages. Other encodings have the same bytes for
# other signs; typographic quotes and dashes are left out, because they are first bytes of Japanese and Chinese signs.
_WESTERN = frozenset("€«»°±²³µ·¿¡§©®´¨¼½¾ªº \xa0ŠšŽžŒœ") | frozenset(
    chr(code) for code in range(0xC0, 0xFF) if code not in (0xD7, 0xF7)
)
_LONG_RUN = re.compile(rb"[\x80-\xff]{3}")  # words of other alphabets; European words have few signs above ASCII

NAMES = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16",
         "utf-32": "UTF-32", "cp1252": "Windows-1252"}  # fmt: skip


def find(data: bytes, path: str) -> str:
    """Returns the name of the encoding of a text, as Python calls it.

    UTF-8, UTF-16 and UTF-32 are recognized by what no other text has. Anything else is Windows-1252 if it looks like
    Western European text in it.

    Raises:
      TableError: It is not plain which encoding it is.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = [data[start:_SAMPLE:2].count(0) * 2 / max(len(data[:_SAMPLE]), 1) for start in (0, 1)]
    if max(zeros) > 0.5 and min(zeros) < 0.1:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    wrong_at = _first_not_utf8(data)
    if wrong_at is None:
        return "utf-8-sig"
    if _is_western(data):
        return "cp1252"
    line = data.count(b"\n", 0, wrong_at) + 1
    raise TableError(
        f"The text of {path!r} is not UTF-8 (line {line}), and it is not plain what else it is. Save it as UTF-8, or "
        "name its encoding: --table-encoding cp1251, shift_jis, gb18030 and so on."
    )


def _first_not_utf8(data: bytes) -> int | None:
    """Returns the place of the first byte that UTF-8 does not allow there, or None."""
    if data.isascii():
        return None
    decoder, at, view = codecs.getincrementaldecoder("utf-8")(), 0, memoryview(data)
    try:
        for at in range(0, len(data), _CHUNK):
            decoder.decode(view[at : at + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as e:
        return at + e.start
    return None


def _is_western(data: bytes) -> bool:
    if _LONG_RUN.search(data):
        return False
    try:
        high = set(data.translate(None, bytes(range(128))).decode("cp1252"))
    except UnicodeDecodeError:
        return False
    # A pair that is valid in UTF-8 is "Ã¤" and the like in Windows-1252: then the text is UTF-8 with damage.
    is_part_utf8 = re.search(rb"[\xc3\xc4\xc5][\x80-\xbf]", data) is not None
    return high <= _WESTERN and not is_part_utf8
