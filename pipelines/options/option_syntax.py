"""Reads and writes the values of options that are more than one word or number.

The parsers raise ValueError with a sentence that begins with "should be".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.options.config_fields import Syntax

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text)
    if not match:
        raise ValueError(f"should be HxW, such as 128x128. Received: {text!r}.")
    return int(match[1]), int(match[2] or match[1])


def _parse_color(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != 3 or not all(p.strip().isdecimal() for p in parts):
        raise ValueError(f"should be R,G,B, each 0..255. Received: {text!r}.")
    return tuple(int(p) for p in parts)


def _parse_numbers(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    return tuple(number(part.strip(), int) for part in text.split(","))


def _parse_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kKMG]?)(?:i?B)?", text)
    if not match:
        raise ValueError(f"should be a whole number, or one with K, M or G such as 64M. Received: {text!r}.")
    return int(match[1]) << _UNITS[match[2].upper()]


def _show_bytes(value: int) -> str:
    unit = next((u for u in ("G", "M", "K") if value and value % (1 << _UNITS[u]) == 0), "")
    return f"{value >> _UNITS[unit]}{unit}"


def split_list(text: str) -> list[str]:
    r"""Returns the parts of a text between commas.

    A comma that belongs to a part is written as a backslash and a comma.

    Example:
      >>> split_list(r"red\, ripe=0.8,green=0.2")
      ['red, ripe=0.8', 'green=0.2']
    """
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text)]


def pairs(text: str, separator: str) -> dict[str, str]:
    """Returns the names and values of a text such as "train=0.8,test=0.2".

    Raises:
      ValueError: a name is missing or occurs twice.
    """
    found: dict[str, str] = {}
    for part in split_list(text):
        name, present, value = part.rpartition(separator)
        if not present or not name.strip() or name.strip() in found:
            raise ValueError(f"should be NAME{separator}VALUE,… with each name once. Received: {text!r}.")
        found[name.strip()] = value.strip()
    return found


def number(text: str, kind: type[float] | type[int]) -> Any:
    """Returns a number that is part of an option's value.

    Raises:
      ValueError: the text is not a number of this kind.
    """
    try:
        return kind(text)
    except ValueError as e:
        raise ValueError(f"should be a number. Received: {text!r}.") from e


def joined(values: Mapping[str, float], separator: str = "=") -> str:
    """Returns "NAME=VALUE,…", which `pairs` reads."""
    return ",".join(f"{_escaped(name)}{separator}{value:.15g}" for name, value in values.items())


def _escaped(text: str) -> str:
    return text.replace(",", "\\,")


def _parse_shares(text: str) -> dict[str, float]:
    return {name: number(value, float) for name, value in pairs(text, "=").items()} if text else {}


def _parse_names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in split_list(text)) if text else ()
    if not all(names):
        raise ValueError(f"should be a list such as A,B without empty parts. Received: {text!r}.")
    return names


def _parse_named(text: str) -> tuple[tuple[str, str], ...]:
    found = tuple(pairs(text, "=").items()) if text else ()
    if not all(value for _, value in found):
        raise ValueError(f"should be NAME=VALUE,… Received: {text!r}.")
    return found


def _show_named(value: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{_escaped(name)}={_escaped(text)}" for name, text in value)


def _show_color(value: Iterable[int]) -> str:
    return ",".join(map(str, value))


SIZE = Syntax(_parse_size, lambda size: f"{size[0]}x{size[1]}", "HxW")  # height, width in pixels
COLOR = Syntax(_parse_color, _show_color, "R,G,B")
NUMBERS = Syntax(_parse_numbers, _show_color, "N,…", lists=True)
BYTES = Syntax(_parse_bytes, _show_bytes, "SIZE")
COUNT = Syntax(_parse_bytes, _show_bytes, "N")  # a large number that is no number of bytes
SHARES = Syntax(_parse_shares, joined, "NAME=SHARE,…", lists=True)
NAMES = Syntax(_parse_names, lambda names: ",".join(map(_escaped, names)), "A,B,…", lists=True)
NAMED = Syntax(_parse_named, _show_named, "NAME=VALUE,…", lists=True)  # pairs of texts, in order
