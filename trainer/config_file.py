"""Options in a YAML file: config.yaml of a run, and what --config reads.

A value means what it means on the command line: YAML's own guesses (`off` is false, `1e-3` is a text, `12:30` is 750)
are not made, because every option has its type. One option a line, by its name with `-` or `_`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from typing import Any

import yaml

from trainer.config import TrainerError

MAX_BYTES = 1 << 20
NOT_SAVED = ("resume",)  # a run that is repeated begins at its beginning
HEADER = "# The options of this run. To repeat it: python -m trainer train --config FILE --output NEW\n"
BREAKS = ("\x85", "\u2028", "\u2029")  # what else YAML takes for the end of a line
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def text(config: Any) -> str:
    """A config dataclass as YAML, one option a line in the order of the fields. `read` gives it back."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    kept = {name: value for name, value in values.items() if name not in NOT_SAVED}
    # PyYAML writes these as they are between quotes, and reads them as a space: they need escapes.
    readable = not any(sign in str(value) for value in kept.values() for sign in BREAKS)
    return HEADER + str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=readable, width=1000))


def read(path: str | os.PathLike[str], kind: type) -> dict[str, Any]:
    """The options in a file, by field name of the dataclass `kind`; only those that it holds.

    Raises:
      TrainerError: no such file, not YAML, an option that there is not (with the nearest that there is), one twice, or
        a value of the wrong type.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise TrainerError(f"--config should be a YAML file of options. {name!r} cannot be read: {why}.") from e
    if len(content) > MAX_BYTES:
        raise TrainerError(f"--config should be a YAML file of options. {name!r} is larger than {MAX_BYTES >> 20} MiB.")
    return _values(name, _pairs(name, content), {field.name: str(field.type) for field in dataclasses.fields(kind)})


def _pairs(name: str, content: str) -> list[tuple[str, str]]:
    """The file's options as it spells them. Of its nodes and not of a dict, which would keep the last of two."""
    try:
        root = yaml.compose(content, yaml.BaseLoader)
    except yaml.YAMLError as e:
        raise TrainerError(f"{name!r} is not YAML: {' '.join(str(e).split())[:300]}") from e
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise TrainerError(f"{name!r} should hold a line `option: value` for each option. It holds something else.")
    pairs = []
    for key, value in root.value:
        if not (isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)):
            raise TrainerError(f"{name!r}, line {key.start_mark.line + 1}: an option should have one plain value.")
        pairs.append((key.value, value.value))
    return pairs


def _values(name: str, pairs: list[tuple[str, str]], kinds: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for spelled, given in pairs:
        option = spelled.replace("-", "_")
        if option not in kinds:
            near = difflib.get_close_matches(option, kinds, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}."
            raise TrainerError(f"{name!r} has an unknown option {spelled!r}: {remedy}")
        if option in values:
            raise TrainerError(f"{name!r} has the option {option!r} twice: take one out.")
        values[option] = _converted(name, option, given, kinds[option])
    return values


def _converted(name: str, option: str, given: str, kind: str) -> Any:
    try:
        if kind == "bool":
            return TRUTH[given.lower()]
        return {"str": str, "int": int, "float": float}[kind](given)
    except (KeyError, ValueError) as e:
        expected = {"bool": "true or false", "int": "a whole number", "float": "a number"}[kind]
        raise TrainerError(f"{name!r}: {option} should be {expected}. Received: {given!r}.") from e
