"""Reads and writes options as YAML: a --config file, a run's config.yaml.

A value means the same as on the command line. YAML's own type guesses (`off` is false, `1e-3` is a string, `12:30` is
750) are switched off, because every option has a known type. Each line has one option. Its name is spelled with `-` or
`_`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Collection
from typing import Any

import yaml

from pipelines.core.errors import ConfigError
from pipelines.options.config_fields import options, parsed, shown

MAX_BYTES = 1 << 20
BREAKS = ("\x85", "\u2028", "\u2029")  # further characters that YAML reads as the end of a line


def text(config: Any, header: str, without: Collection[str] = ()) -> str:
    """Returns a config dataclass as YAML, one option per line in order of the fields.

    `read` restores the same options from it.

    Args:
      header: comment for the first line.
      without: names of the options that are left out.
    """
    kept = {
        f.name: shown(f, getattr(config, f.name)) if f.metadata["syntax"] else getattr(config, f.name)
        for f in options(config)
        if f.name not in without
    }
    # PyYAML writes these characters unescaped between quotes, but reads them as a space, so they need escapes.
    readable = not any(sign in str(value) for value in kept.values() for sign in BREAKS)
    return f"# {header}\n" + str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=readable, width=1000))


def read(path: str | os.PathLike[str], kind: type) -> dict[str, Any]:
    """Reads the options in a YAML file, by field name of the dataclass `kind`.

    Raises:
      ConfigError: the file does not exist or is not YAML, an option is unknown (the message names the most similar
        option), an option occurs twice, or a value has the wrong type.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"--config should be a YAML file of options. {name!r} cannot be read: {why}.") from e
    if len(content) > MAX_BYTES:
        raise ConfigError(f"--config should be a YAML file of options. {name!r} is larger than {MAX_BYTES >> 20} MiB.")
    return _values(name, _pairs(name, content), {field.name: field for field in options(kind)})


def _pairs(name: str, content: str) -> list[tuple[str, str]]:
    """Returns (name, value) of each option, spelled as in the file.

    It reads the YAML nodes, because a dict would silently keep only the last of two equal options.
    """
    try:
        root = yaml.compose(content, yaml.BaseLoader)
    except yaml.YAMLError as e:
        raise ConfigError(f"{name!r} is not YAML: {' '.join(str(e).split())[:300]}") from e
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{name!r} should hold a line `option: value` for each option. It holds something else.")
    pairs = []
    for key, value in root.value:
        if not (isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)):
            raise ConfigError(f"{name!r}, line {key.start_mark.line + 1}: an option should have one plain value.")
        pairs.append((key.value, value.value))
    return pairs


def _values(name: str, pairs: list[tuple[str, str]], fields: dict[str, dataclasses.Field[Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for spelled, given in pairs:
        option = spelled.replace("-", "_")
        if option not in fields:
            near = difflib.get_close_matches(option, fields, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(fields)}."
            raise ConfigError(f"{name!r} has an unknown option {spelled!r}: {remedy}")
        if option in values:
            raise ConfigError(f"{name!r} has the option {option!r} twice: take one out.")
        try:
            values[option] = parsed(fields[option], given)
        except ValueError as e:
            raise ConfigError(f"{name!r}: {option} {e}") from e
    return values
