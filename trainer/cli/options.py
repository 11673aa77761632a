"""Builds a command line from a config dataclass, with one flag per field.

A YAML file can give the same options; flags override the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from trainer import config_file
from trainer.config import flag

Config = TypeVar("Config")


class Parser(argparse.ArgumentParser):
    """Parses like argparse, with shorter errors.

    An error is one line without the list of all options. For an unknown option it names the most similar known one.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            near = difflib.get_close_matches(rest[0].partition("=")[0], known, 1)
            self.error(f"unrecognized arguments: {' '.join(rest)}" + (f"; did you mean {near[0]}?" if near else ""))
        return found, rest

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists all options)\n")


def add(parser: argparse.ArgumentParser, kind: type) -> None:
    """Adds a flag with its default for each field of the dataclass `kind`."""
    for field in dataclasses.fields(kind):
        default = {} if field.default is dataclasses.MISSING else {"default": field.default}
        _add_option(parser, field, required=not default, **default)


def add_with_file(parser: argparse.ArgumentParser, kind: type) -> None:
    """Adds --config and a flag for each field of the dataclass `kind`.

    The parsed arguments contain only those options that the user gave; `merged` fills in the others.
    """
    parser.add_argument(
        "--config",
        default="",
        metavar="FILE",
        help="YAML file with these options by name, such as config.yaml of an earlier run; flags override it",
    )
    for field in dataclasses.fields(kind):
        _add_option(parser, field, required=False, default=argparse.SUPPRESS)


def values(kind: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of the --config file, overridden by the flags.

    Raises:
      TrainerError: as `config_file.read`.
    """
    flags = dict(arguments)
    file = flags.pop("config", "")
    return (config_file.read(file, kind) if file else {}) | flags


def made(kind: type[Config], given: dict[str, Any]) -> Config:
    """Builds a config from the given values and the defaults.
    Raises:
      UsageError: an option without a default is not given.
      TrainerError: a value is out of its range.
    """
    missing = [
        flag(field.name)
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in given
    ]
    if missing:
        raise UsageError(f"the following arguments are required: {', '.join(missing)}")
    return kind(**given)


def merged(kind: type[Config], arguments: dict[str, Any]) -> Config:
    """Builds a config from the flags, then the --config file, then the defaults.

    Raises:
      UsageError, TrainerError: as `values` and `made`.
    """
    return made(kind, values(kind, arguments))


class UsageError(Exception):
    """Is raised for a wrong command line; it ends with exit status 2, as in argparse."""


def dashes(argv: Sequence[str]) -> list[str]:
    """Replaces `_` by `-` in the names of flags: --batch_size=8 -> --batch-size=8.

    Values are not changed.
    """
    result: list[str] = []
    for i, argument in enumerate(argv):
        if argument == "--":  # only values follow
            return [*result, *argv[i:]]
        name, equals, value = argument.partition("=")
        result.append((name.replace("_", "-") if name.startswith("--") else name) + equals + value)
    return result


def positive(text: str) -> int:
    """Parses a whole number of at least 1, as a `type` of argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"should be at least 1. Received: {value}")
    return value


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], **options: Any) -> None:
    text = str(field.metadata["help"]).replace("%", "%%")
    if field.default is not dataclasses.MISSING and field.default != "":
        text += f" (default: {field.default})"
    options["help"] = text
    if str(field.type) == "bool":
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["type"] = {"str": str, "int": int, "float": float}[str(field.type)]
        options["choices"] = field.metadata.get("choices")
        metavar = {"str": "NAME", "int": "N", "float": "X"}[str(field.type)]
        options["metavar"] = None if options["choices"] else field.metadata.get("metavar", metavar)
    parser.add_argument(flag(field.name), dest=field.name, **options)
