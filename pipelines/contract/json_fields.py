"""Reads the fields of untrusted JSON objects and checks their form.

An error names the field by its path, what the field should be, and what was received.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 16  # levels of nested objects and lists
MAX_WHOLE = 1 << 63
MAX_ITEMS = 1 << 20  # in a list


class FieldError(ValueError):
    """Says that a field is missing or does not have the expected form."""


def parse(text: str) -> Any:
    """Parses JSON so strictly that every reader reads it alike.

    Raises:
      FieldError: The text is not JSON, it is nested deeper than MAX_DEPTH, an object has a field twice, or a string
        holds text that UTF-8 cannot encode.
    """
    try:
        text.encode()
        value = json.loads(text, object_pairs_hook=_distinct)
    except FieldError:
        raise
    except (ValueError, RecursionError) as e:
        raise FieldError(f"it is not valid JSON ({str(e)[:200]})") from e
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise FieldError(f"objects and lists should be nested at most {MAX_DEPTH} levels deep")


def _inside(value: Any) -> Iterator[Any]:
    """Yields the values that an object or a list contains.

    A string contains none; this function checks that UTF-8 can encode it.

    Raises:
      FieldError: UTF-8 cannot encode a string.
    """
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise FieldError(f"text should be such that UTF-8 can encode it. Received: {value!r:.80}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise FieldError(
            f"each field of an object should occur once. This one occurs twice: {max(names, key=names.count)!r:.80}"
        )
    return values


class Fields:
    """Gives checked access to the fields of one JSON object.

    Every method raises FieldError if the field is missing or does not have the expected form.

    Args:
      value: The object, as parsed from JSON.
      path: The object's position in the document, such as "splits.train."; "" at the top level.
    """

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
        return str(self._checked(self._path + name, value, _is_digest(value), "a SHA-256 of 64 hex digits"))

    def truth(self, name: str) -> bool:
        value = self._get(name)
        return bool(self._checked(self._path + name, value, isinstance(value, bool), "true or false"))

    def truth_or(self, name: str, default: bool) -> bool:
        """Returns a truth value, or the default if the field is missing."""
        return self.truth(name) if name in self._values else default

    def whole(self, name: str, least: int | None = 0) -> int:
        """Returns an integer of at most MAX_WHOLE.

        Args:
          name: Name of the field.
          least: The least value that is allowed; None: -MAX_WHOLE.
        """
        value = self._get(name)
        fits = _is_whole(value) and (-MAX_WHOLE if least is None else least) <= value <= MAX_WHOLE
        expected = "a whole number" if least is None else f"a whole number from {least}"
        return int(self._checked(self._path + name, value, fits, expected))

    def whole_or(self, name: str, default: int) -> int:
        """Returns an integer from 0 to MAX_WHOLE, or `default` if there is no such field."""
        return self.whole(name) if name in self._values else default

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Returns a list of so many finite numbers."""
        value = self._get(name)
        fits = isinstance(value, list) and len(value) == count and all(_is_finite(v) for v in value)
        expected = {1: "a list of one finite number", 3: "three finite numbers"}.get(count, f"{count} finite numbers")
        return tuple(map(float, self._checked(self._path + name, value, fits, expected)))

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns a list of strings: at least one, none empty, no two equal."""
        value = self._get(name)
        fits = isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)
        fits = fits and len(set(value)) == len(value) <= MAX_ITEMS
        return tuple(self._checked(self._path + name, value, fits, "distinct names, at least one"))

    def lines(self, name: str) -> tuple[str, ...]:
        """Returns a list of strings, which may be equal or empty."""
        value = self._get(name)
        fits = isinstance(value, list) and len(value) <= MAX_ITEMS and all(isinstance(v, str) for v in value)
        return tuple(self._checked(self._path + name, value, fits, "a list of texts"))

    def has(self, name: str) -> bool:
        """Tells whether there is such a field."""
        return name in self._values

    def nothing(self, name: str) -> tuple[()]:
        """Returns an empty list, as which the field should stand there."""
        value = self._get(name)
        self._checked(self._path + name, value, value == [], "an empty list")
        return ()

    def counts_of(self, names: tuple[str, ...]) -> dict[str, int]:
        """Returns the whole numbers that have these names in the object itself."""
        return {name: self.whole(name) for name in names}

    def counts(self, name: str) -> dict[str, int]:
        value = self._get(name)
        fits = isinstance(value, dict) and all(_is_whole(v) and 0 <= v <= MAX_WHOLE for v in value.values())
        return dict(self._checked(self._path + name, value, fits, "an object of whole numbers"))

    def digests(self, name: str) -> dict[str, str]:
        """Returns an object that maps relative paths to their SHA-256 in hex.

        The result is empty if there is no such field.
        """
        values = self._object(name) if name in self._values else {}
        for path, digest in values.items():
            plain = all(part not in ("", ".", "..") for part in path.split("/")) and "\0" not in path
            self._checked(f"{self._path}{name}", path, plain, "an object whose names are relative paths")
            self._checked(f"{self._path}{name}.{path}", digest, _is_digest(digest), "a SHA-256 of 64 hex digits")
        return values

    def plain(self, name: str, optional: bool = False) -> dict[str, Any]:
        """Returns an object; checks no more than that its numbers are finite.

        Args:
          name: Name of the field.
          optional: Whether there may be no such field; the result is empty then.
        """
        if optional and name not in self._values:
            return {}
        value = self._object(name)
        self._checked(self._path + name, value, _all_finite(value), "an object of finite numbers")
        return value

    def _object(self, name: str) -> dict[str, Any]:
        value = self._get(name)
        return dict(self._checked(self._path + name, value, isinstance(value, dict), "an object"))

    def part(self, name: str) -> Fields:
        return Fields(self._get(name), f"{self._path}{name}.")

    def parts(self, name: str) -> dict[str, Fields]:
        """Returns a field that is an object of objects, with at least one of them."""
        values = self._object(name)
        self._checked(self._path + name, values, bool(values), "an object with at least one field")
        return {key: Fields(value, f"{self._path}{name}.{key}.") for key, value in values.items()}

    def items(self, name: str) -> Iterator[Fields]:
        """Returns the objects of a list, at most MAX_ITEMS."""
        value = self._get(name)
        fits = isinstance(value, list) and len(value) <= MAX_ITEMS
        self._checked(self._path + name, value, fits, f"a list of at most {MAX_ITEMS}")
        return (Fields(item, f"{self._path}{name}[{i}].") for i, item in enumerate(value))


def _all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_all_finite, value.values()))
    if isinstance(value, list):
        return all(map(_all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond float's range
        return False
