"""The command line of a config dataclass: a flag a field, and a YAML file of the same options that flags override."""

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
    """argparse, but an error is one line, without all options before it, and an unknown option's neighbour is named."""

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
    """A flag for each field of the dataclass `kind`, with its default."""
    for field in dataclasses.fields(kind):
        default = {} if field.default is dataclasses.MISSING else {"default": field.default}
        _add_option(parser, field, required=not default, **default)


def add_with_file(parser: argparse.ArgumentParser, kind: type) -> None:
    """As `add`, and --config. What is not given is not among the arguments: `merged` fills it in."""
    parser.add_argument(
        "--config",
        default="",
        metavar="FILE",
        help="a YAML file of these options by name, such as an earlier run's config.yaml; flags go before it",
    )
    for field in dataclasses.fields(kind):
        _add_option(parser, field, required=False, default=argparse.SUPPRESS)


def values(kind: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the file of --config says, and the flags, which go before it; raises as `config_file.read`."""
    flags = dict(arguments)
    file = flags.pop("config", "")
    return (config_file.read(file, kind) if file else {}) | flags


def made(kind: type[Config], given: dict[str, Any]) -> Config:
    """The config of these values, and of the defaults.

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
    """The config that flags, then the file of --config, then the defaults say; raises as `values` and `made`."""
    return made(kind, values(kind, arguments))


class UsageError(Exception):
    """A wrong command line, told as argparse tells it: exit status 2."""


def dashes(argv: Sequence[str]) -> list[str]:
    """--batch_size=8 -> --batch-size=8; values are left alone."""
    result: list[str] = []
    for i, argument in enumerate(argv):
        if argument == "--":  # what follows are values
            return [*result, *argv[i:]]
        name, equals, value = argument.partition("=")
        result.append((name.replace("_", "-") if name.startswith("--") else name) + equals + value)
    return result


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse's `type`."""
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
