"""Declares an option once, as a field of a config dataclass.

The command line, the YAML file of --config, the help text and the checks are all made from the fields. See
`core.command_line` and `core.config_file`. It imports only the standard library.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pipelines.core.errors import ConfigError

_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_EXPECTED = {"bool": "true or false", "int": "a whole number", "float": "a number"}


class Syntax(NamedTuple):
    """Says how a value is written that is no plain text, number or boolean.

    `parse` raises ValueError with a sentence that begins with "should be". `show(parse(text))` means the same as
    `text`. `lists` is True if the value has several parts, which may all be wanted: such an option is given once.
    """

    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    metavar: str
    lists: bool = False


class Range(NamedTuple):
    """Holds the least and the greatest value of a number.

    `above` excludes the least value itself.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def __str__(self) -> str:
        if self.above:
            return f"above {self.low} and at most {self.high}"
        return f"at least {self.low}" if self.high == math.inf else f"from {self.low} to {self.high}"

    def holds(self, value: float) -> bool:
        """Tells whether a value is finite and within the range."""
        low_enough = self.low < value if self.above else self.low <= value
        return low_enough and value <= self.high and not math.isinf(value)


def option(
    default: Any,
    text: str,
    *,
    decides: bool = True,
    choices: Sequence[str] = (),
    limits: Range | None = None,
    syntax: Syntax | None = None,
    **extra: Any,
) -> Any:
    """Returns a dataclass field that is one option.

    Args:
      default: value where the option is not given. dataclasses.MISSING makes the option required; a function without
        arguments makes a new default each time.
      text: help text, without the default.
      decides: False for an option that does not change the result. Configs that differ only in it are equal.
      choices: the allowed texts.
      limits: the allowed numbers.
      syntax: how the value is written as text, if it is no text, number or boolean.
      extra: `metavar`: the name of the value in the help text. `group`: the option's group in the help text. `filled`:
        True if the text may not be empty. `unset`: the text that the help shows as the default, where the default
        itself says little. `sets`: True if the parsed value is a dict of several fields, this one among them.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     epochs: int = option(15, "number of passes", limits=Range(1, 100))
      >>> check(Config(epochs=0))
      Traceback (most recent call last):
      ...
      pipelines.core.errors.ConfigError: --epochs should be from 1 to 100. Received: 0.
    """
    metadata = {"help": text, "choices": tuple(choices), "limits": limits, "syntax": syntax, **extra}
    kind = "default_factory" if callable(default) else "default"
    return dataclasses.field(**{kind: default}, compare=decides, metadata=metadata)


def flag(name: str) -> str:
    """Returns the command-line flag of a field: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def options(kind: Any) -> Iterator[dataclasses.Field[Any]]:
    """Yields the fields of a config, or of its class, that are options."""
    return (field for field in dataclasses.fields(kind) if "help" in field.metadata)


def required(field: dataclasses.Field[Any]) -> bool:
    """Tells whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def decisive(config: Any) -> dict[str, Any]:
    """Returns the options of a config that change the result, by field name."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.compare}


def parsed(field: dataclasses.Field[Any], text: str) -> Any:
    """Returns the value of an option that is written as text.

    Raises:
      ValueError: the text is not a value of this option. The message is a sentence that begins with "should be".
    """
    kind = str(field.type)
    try:
        if field.metadata["syntax"]:
            return field.metadata["syntax"].parse(text)
        if kind == "bool":
            return _TRUTH[text.lower()]
        return {"str": str, "int": int, "float": float}[kind](text)
    except (KeyError, ValueError) as e:
        if field.metadata["syntax"]:
            raise
        raise ValueError(f"should be {_EXPECTED[kind]}. Received: {text!r}.") from e


def shown(field: dataclasses.Field[Any], value: Any) -> str:
    """Returns a value of an option as the text that `parsed` reads."""
    syntax = field.metadata["syntax"]
    return str(syntax.show(value) if syntax else value)


def check(config: Any) -> None:
    """Checks the type, the choices and the limits of every option of a config.

    Raises:
      ConfigError: a value is not allowed. The message names the option.
    """
    for field in options(config):
        value, about = getattr(config, field.name), field.metadata
        _check_type(field, value)
        if value == "" and (required(field) or about.get("filled")):
            raise ConfigError(f"{flag(field.name)} should not be empty.")
        if about["choices"] and value not in about["choices"]:
            raise ConfigError(
                f"{flag(field.name)} should be one of {', '.join(about['choices'])}. Received: {value!r}."
            )
        if about["limits"]:
            check_range(flag(field.name), value, about["limits"])


def check_range(name: str, value: float, limits: Range) -> None:
    """Raises ConfigError if a number is not within its limits.

    Args:
      name: begins the message, such as "--size".
    """
    if not limits.holds(value):
        raise ConfigError(f"{name} should be {limits}. Received: {value!r}.")


def _check_type(field: dataclasses.Field[Any], value: Any) -> None:
    kind = str(field.type)
    if kind in _PLAIN and (not isinstance(value, _PLAIN[kind]) or (kind != "bool" and isinstance(value, bool))):
        raise ConfigError(f"{flag(field.name)} should be of type {kind}. Received: {value!r}.")
