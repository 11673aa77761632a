"""Checked access to JSON objects: an error names the field by its path, what it should be, and what came."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any


class FieldError(ValueError):
    """A field is missing or not of its form."""


class Fields:
    """The fields of one JSON object. `path` is where it stands, such as "splits.train."; "" at the top."""

    def __init__(self, value: Any, path: str = ""):
        self._path = path
        self._values = self._checked(path.rstrip("."), value, isinstance(value, dict), "an object")

    def _checked(self, name: str, value: Any, fits: bool, expected: str) -> Any:
        if not fits:
            raise FieldError(f"{name or 'it'} should be {expected}. Received: {value!r:.80}")
        return value

    def _get(self, name: str) -> Any:
        if name not in self._values:
            raise FieldError(f"{self._path}{name} is missing")
        return self._values[name]

    def text(self, name: str) -> str:
        value = self._get(name)
        return str(self._checked(self._path + name, value, isinstance(value, str), "text"))

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self._get(name)
        fits = isinstance(value, str) and value in allowed
        return str(self._checked(self._path + name, value, fits, f"one of {', '.join(allowed)}"))

    def digest(self, name: str) -> str:
        value = self._get(name)
        fits = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
        return str(self._checked(self._path + name, value, fits, "a SHA-256 of 64 hex digits"))

    def truth(self, name: str) -> bool:
        value = self._get(name)
        return bool(self._checked(self._path + name, value, isinstance(value, bool), "true or false"))

    def whole(self, name: str, least: int | None = 0) -> int:
        value = self._get(name)
        fits = _is_whole(value) and (least is None or value >= least)
        expected = "a whole number" if least is None else f"a whole number from {least}"
        return int(self._checked(self._path + name, value, fits, expected))

    def three_numbers(self, name: str) -> tuple[float, float, float]:
        value = self._get(name)
        fits = isinstance(value, list) and len(value) == 3 and all(_is_finite(v) for v in value)
        a, b, c = self._checked(self._path + name, value, fits, "three finite numbers")
        return float(a), float(b), float(c)

    def texts(self, name: str) -> tuple[str, ...]:
        """At least one text, none empty, no two equal."""
        value = self._get(name)
        fits = isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)
        fits = fits and len(set(value)) == len(value)
        return tuple(self._checked(self._path + name, value, fits, "distinct names, at least one"))

    def counts(self, name: str) -> dict[str, int]:
        value = self._get(name)
        fits = isinstance(value, dict) and all(_is_whole(v) and v >= 0 for v in value.values())
        return dict(self._checked(self._path + name, value, fits, "an object of whole numbers"))

    def plain(self, name: str) -> dict[str, Any]:
        """An object whose content is not looked at."""
        value = self._get(name)
        return dict(self._checked(self._path + name, value, isinstance(value, dict), "an object"))

    def part(self, name: str) -> Fields:
        return Fields(self._get(name), f"{self._path}{name}.")

    def parts(self, name: str) -> dict[str, Fields]:
        """An object of objects, at least one."""
        values = self.plain(name)
        self._checked(self._path + name, values, bool(values), "an object with at least one field")
        return {key: Fields(value, f"{self._path}{name}.{key}.") for key, value in values.items()}

    def items(self, name: str) -> Iterator[Fields]:
        """A list of objects."""
        value = self._get(name)
        self._checked(self._path + name, value, isinstance(value, list), "a list")
        return (Fields(item, f"{self._path}{name}[{i}].") for i, item in enumerate(value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond float's range
        return False
