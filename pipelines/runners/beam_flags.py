"""Parses a few of Beam's flags without importing Beam.

The import of Beam's own parser takes a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.core.errors import ConfigError


class Flags:
    """Holds the values of the flags with these names; None where a flag was not given.

    Args:
      flags: the command line's flags.
      names: without dashes; other spellings of the same flag follow after "|".
      lists: flags that may be given several times; their values are lists.
    """

    def __init__(self, flags: Sequence[str], names: Iterable[str], lists: Iterable[str] = ()):
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for name in names:
            parser.add_argument(*_spellings(name), dest=name.split("|")[0])
        for name in lists:
            parser.add_argument(*_spellings(name), dest=name.split("|")[0], action="append", default=[])
        try:
            self._values: dict[str, Any] = vars(parser.parse_known_args(list(flags))[0])
        except argparse.ArgumentError as e:
            raise ConfigError(f"A Beam option cannot be used: {e}.") from e

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def lacking(self, **defaults: str | None) -> list[str]:
        """Returns --NAME=VALUE for those of the defaults that were not given."""
        return [f"--{n}={v}" for n, v in defaults.items() if v is not None and self._values[n] is None]


def _spellings(name: str) -> list[str]:
    return [f"--{spelling}" for spelling in name.split("|")]
