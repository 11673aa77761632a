"""Finds the user's functions and variables by name, from the current directory."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from typing import Any

from trainer.config import TrainerError


class Named:
    """Wraps what `module:name` names, a function or a variable."""

    def __init__(self, name: str, option: str) -> None:
        self.name, self.option = name, option

    def find(self) -> Any:
        """Imports the module and returns the function or the variable.

        Raises:
          TrainerError: the module does not exist, or it has no such name.
          Exception: whatever the module raises at import.
        """
        module_name, _, name = self.name.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        if not _exists(module_name):
            raise TrainerError(
                f"{self.option} {self.name}: there is no module {module_name!r} in {os.getcwd()!r} nor installed: run "
                "from the folder that holds it, or set PYTHONPATH."
            )
        module = importlib.import_module(module_name)
        if not hasattr(module, name):
            raise TrainerError(f"{self.option} {self.name}: module {module_name!r} has no {name!r}.")
        return getattr(module, name)


def value(given: Any) -> Any:
    """Returns what the user gave; a function is called.

    Raises:
      TrainerError: as `Named.find`.
      Exception: whatever the user's module or function raises.
    """
    given = given.find() if isinstance(given, Named) else given
    is_function = callable(given) and not hasattr(given, "__iter__")
    return given() if is_function else given


def name_of(given: Any) -> str:
    """Returns the name of a function, path or object for messages."""
    if isinstance(given, Named):
        return f"{given.option} {given.name}"
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    return str(getattr(given, "__name__", type(given).__name__))


def _exists(module_name: str) -> bool:
    # find_spec imports the parent packages of a dotted name, which may fail.
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        return bool(module_name) and importlib.util.find_spec(module_name) is not None
    return False
