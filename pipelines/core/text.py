"""Formats text for people.

There are tables, counted nouns, lists of names, numbers, sizes, safe characters, and the line of an error that says
what was wrong.
"""

import math
import re
from collections.abc import Iterable, Sequence

_PLACES = ("Graph execution error", "Detected at node", "<stack traces", 'File "', "[[")  # the place in a graph
# A place in a graph within a line. Its numbers depend on what the process made before, so equal runs differ in them.
_PLACE = re.compile(r"\{\{[^{}]*\}\}|\[\[\{\{.*|\[Op:.*")
# Lone surrogates (undecodable file names), control characters, and marks that reverse the direction of text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Formats a table with one heading per column.

    The first column is aligned left, the others right. Integers get thousands separators.
    """
    cells = [list(header), *[[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        first, *others = (c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def plural(count: int, one: str, many: str = "") -> str:
    """Formats a count with its noun: "1 shard", "1,200 shards".

    >>> plural(2, "shard"), plural(2, "class", "classes")
    ('2 shards', '2 classes')

    Args:
      count: The number.
      one: The noun in the singular.
      many: The noun in the plural, if that is not the singular with an "s".
    """
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[object], most: int, between: str = ", ") -> str:
    """Joins names. Of many names it gives the first ones and the number of others.

    >>> listed(["ant", "bee", "cat"], 3)
    'ant, bee, cat'
    >>> listed(["ant", "bee", "cat", "dog"], 2)
    'ant, bee and 2 more'
    """
    every = [str(name) for name in names]
    return between.join(every[:most]) + (f" and {number(len(every) - most)} more" if len(every) > most else "")


def cut(text: str, most: int) -> str:
    """Shortens a text to at most `most` characters; the last one is then "…".

    >>> cut("a cat", 5), cut("a long cat", 5)
    ('a cat', 'a lo…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def utf8_text(text: str) -> str:
    """Returns text that UTF-8 can encode.

    Bytes of a name that are not UTF-8, and lone surrogates, become escapes.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte: from JSON, never from a file system
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_label(text: str) -> bool:
    """Tells whether a text can be the name of a class.

    It is not blank, and has no control characters, line ends or marks of direction. The letters of all scripts, joiners
    (Persian, Indic scripts, emoji) and all kinds of blanks are allowed.
    """
    return bool(text.strip()) and not _UNPRINTABLE.search(text)


def printable(text: str, keep: str = "") -> str:
    """Replaces the characters that reorder or break text by \\u escapes.

    Args:
      text: The text.
      keep: Characters that are not replaced.
    """
    return _UNPRINTABLE.sub(lambda m: m.group() if m.group() in keep else f"\\u{ord(m.group()):04x}", text)


def number(value: int) -> str:
    """Formats an integer with thousands separators: 1234567 -> 1,234,567."""
    return f"{value:,}"


def general(value: float) -> str:
    """Formats a number in four digits, with a true minus sign: -1.98765 -> −1.988."""
    return f"{value:.4g}".replace("-", "−")


def short(value: float) -> str:
    """Formats a number in three digits, for running text, as `general`: −3.36."""
    return f"{value:.3g}".replace("-", "−")


def byte_size(value: float) -> str:
    """Formats bytes in the largest binary unit that gives at least 1: 1.5 KiB."""
    if value < 1024:
        return f"{value:.0f} B"
    power = min(int(math.log(value, 1024)), 5)
    return f"{value / 1024**power:.3g} {('KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power - 1]}"


def first_line(error: BaseException, limit: int = 300) -> str:
    """Returns the first line of an error that says what was wrong, else its type.

    TensorFlow's errors begin with lines that say where in the graph the error occurred: those are skipped. Within a
    line such places are left out, too, because their numbers depend on what the process did before.

    Args:
      error: The error.
      limit: Maximum number of characters.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    told = [_PLACE.sub("", line).strip() for line in lines if not line.startswith(_PLACES)]
    return next(filter(None, told), type(error).__name__)[:limit]
