"""Builds a command line from a config dataclass, with one flag per option.

A YAML file can give the same options; flags override the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
from collections.abc import Collection, Sequence
from typing import Any, NoReturn, TypeVar

from pipelines.core.errors import ConfigError
from pipelines.options import config_file
from pipelines.options.config_fields import flag, options, parsed, required, shown

Config = TypeVar("Config")
_METAVARS = {"str": "NAME", "int": "N", "float": "X"}


_LIKE_OURS = 0.85  # similarity from which an option that may be meant for Beam is taken for a misspelled one of ours


class Parser(argparse.ArgumentParser):
    """Parses like argparse, with shorter errors.

    An error is one line without the list of all options. For an unknown option it names the most similar known one.
    """

    keeps_unknown = False  # True: `parse_known_args` returns options that are not like one of this parser

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest and not rest[0].startswith("-") and os.path.lexists(rest[0]):
            self.error(
                f"unrecognized arguments: {' '.join(rest[:2])}{' …' if len(rest) > 2 else ''}. The shell replaces a "
                "pattern such as *.csv by the names of files: put it in quotes, such as 'photos/*.csv'."
            )
        known = [name for name in self._option_string_actions if name.startswith("--")]
        if rest and self.keeps_unknown:
            for name in (flag.partition("=")[0] for flag in rest if flag.startswith("--") and "_" not in flag):
                if near := difflib.get_close_matches(name, known, 1, cutoff=_LIKE_OURS):
                    self.error(f"unrecognized arguments: {name}; did you mean {near[0]}?")
        elif rest:
            near = difflib.get_close_matches(rest[0].partition("=")[0], known, 1)
            self.error(f"unrecognized arguments: {' '.join(rest)}" + (f"; did you mean {near[0]}?" if near else ""))
        return found, rest

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists all options)\n")


def add(parser: argparse.ArgumentParser, kind: type) -> None:
    """Adds a flag for each option of the dataclass `kind`.

    The parsed arguments contain only those options that the user gave; `made` fills in the others.
    """
    _add(parser, kind, optional=False)


def add_group(parser: argparse.ArgumentParser, kind: type, group: str) -> list[str]:
    """Adds a flag for each option of one group of the dataclass `kind`, as `add` does.

    Returns:
      The names of these options.
    """
    fields = [field for field in options(kind) if field.metadata.get("group") == group]
    place = parser.add_argument_group(group)
    for field in fields:
        _add_option(place, field, required(field))
    return [field.name for field in fields]


def add_named(parser: argparse.ArgumentParser, kind: type, names: Collection[str], title: str) -> None:
    """Adds a flag for each of these options of the dataclass `kind`, as `add` does.

    Args:
      title: the heading above them in the help.
    """
    place = parser.add_argument_group(title)
    for field in options(kind):
        if field.name in names:
            _add_option(place, field, required(field))


def add_with_file(parser: argparse.ArgumentParser, kind: type, example: str) -> None:
    """Adds --config and a flag for each option of the dataclass `kind`.

    The parsed arguments contain only those options that the user gave; `merged` fills in the others.

    Args:
      example: what such a file may be, for the help text.
    """
    parser.add_argument(
        "--config",
        default="",
        metavar="FILE",
        help=f"YAML file with these options by name, {example}; flags override it (default: no file)",
    )
    _add(parser, kind, optional=True)


def values(kind: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of the --config file, overridden by the flags.

    Raises:
      ConfigError: as `config_file.read`.
    """
    flags = dict(arguments)
    file = flags.pop("config", "")
    return (config_file.read(file, kind) if file else {}) | flags


def made(kind: type[Config], given: dict[str, Any]) -> Config:
    """Builds a config from the given values and the defaults.

    Raises:
      ConfigError: an option without a default is not given, or a value is out of its range.
    """
    missing = [flag(field.name) for field in options(kind) if required(field) and field.name not in given]
    if missing:
        raise ConfigError(f"The following options are required: {', '.join(missing)}.")
    several = [f.name for f in options(kind) if f.metadata.get("sets") and f.name in given]
    single = {name: value for name, value in given.items() if name not in several}
    for name in several:
        single |= given[name]
    return kind(**single)


def merged(kind: type[Config], arguments: dict[str, Any]) -> Config:
    """Builds a config from the flags, then the --config file, then the defaults.

    Raises:
      ConfigError: as `values` and `made`.
    """
    return made(kind, values(kind, arguments))


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


def _add(parser: argparse.ArgumentParser, kind: type, optional: bool) -> None:
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in options(kind):
        group = field.metadata.get("group", "")
        if group and group not in groups:
            groups[group] = parser.add_argument_group(group)
        _add_option(groups[group] if group else parser, field, required(field) and not optional)


def _add_option(place: argparse._ActionsContainer, field: dataclasses.Field[Any], needed: bool) -> None:
    about, kind = field.metadata, str(field.type)
    settings: dict[str, Any] = {"help": _help(field), "required": needed, "default": argparse.SUPPRESS}
    if kind == "bool":
        settings["action"] = argparse.BooleanOptionalAction
    else:
        settings["type"] = _typed(field)
        settings["choices"] = about["choices"] or None
        syntax = about["syntax"]
        metavar = syntax.metavar if syntax else _METAVARS[kind]
        settings["metavar"] = None if about["choices"] else about.get("metavar", metavar)
        if syntax and syntax.lists:
            settings["action"] = Once
    place.add_argument(flag(field.name), dest=field.name, **settings)


class Once(argparse.Action):
    """Stores a list, and refuses a second one, which would silently replace the first."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        if hasattr(namespace, self.dest):
            raise argparse.ArgumentError(
                self,
                f"was given twice, and the last one would replace the others. Write one list: {flag} {self.metavar}",
            )
        setattr(namespace, self.dest, values)


def _help(field: dataclasses.Field[Any]) -> str:
    text = str(field.metadata["help"])
    if "unset" in field.metadata:
        text += f" (default: {field.metadata['unset']})"
    elif required(field):
        text += " (required)"
    else:
        default = field.default_factory() if callable(field.default_factory) else field.default
        text += f" (default: {shown(field, default)})" if default != "" else ""
    return text.replace("%", "%%")


def _typed(field: dataclasses.Field[Any]) -> Any:
    """Returns a parser of the option's text, as a `type` of argparse.

    argparse shows the text of an error only if it is an ArgumentTypeError.
    """

    def parse(text: str) -> Any:
        try:
            return parsed(field, text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(str(e)) from e

    return parse
