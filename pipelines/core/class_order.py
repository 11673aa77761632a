"""Puts classes into the order of their ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from pipelines.core.text import cut

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_CHUNKS = re.compile(r"([0-9]+)")
SHOWN = 4  # classes that a sentence names


def ordered(labels: Iterable[str], first: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the classes in the order of their ids.

    The order is that of the numbers where all labels are numbers, and where all begin with a number or with the same
    text before their first number ("class2", "class10"). Else it is by code point.

    Example:
      >>> ordered(["10", "9", "-1", "0.5"])
      ('-1', '0.5', '9', '10')
      >>> ordered(["class10", "class2"])
      ('class2', 'class10')
      >>> ordered(["class10", "class2", "other"])
      ('class10', 'class2', 'other')

    Args:
      labels: Each once or several times.
      first: Classes whose ids are fixed. The others come behind them.
    """
    rest = sorted(set(labels) - set(first))
    if all(map(_NUMBER.fullmatch, rest)):
        rest.sort(key=Decimal)
    elif _are_numbered(rest):
        rest.sort(key=_chunks)
    return (*first, *rest)


def told(names: Sequence[str]) -> str:
    """Returns a sentence where the ids follow the numbers in the names, else "".

    Args:
      names: The classes in the order of their ids, of which none is fixed.
    """
    if list(names) == sorted(names):
        return ""
    some = ", ".join(cut(name, 40) for name in names[:SHOWN])
    more = ", …" if len(names) > SHOWN else ""
    return f"The ids of the classes follow the numbers in their names: {some}{more}. --classes gives another order."


def _are_numbered(labels: Sequence[str]) -> bool:
    chunks = [_CHUNKS.split(label, maxsplit=1) for label in labels]
    if not all(len(parts) == 3 for parts in chunks) or len({parts[0] for parts in chunks}) != 1:
        return False
    # Digits in codes, such as the /m/01g317 of Open Images, count nothing.
    return not any(len(parts[1]) > 1 and parts[1][0] == "0" and parts[2][:1].isalpha() for parts in chunks)


def _chunks(label: str) -> list[tuple[int, str]]:
    """Returns the texts and numbers of a label, so that they can be compared."""
    parts = _CHUNKS.split(label)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
