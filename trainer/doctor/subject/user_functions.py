"""Finds the user's own functions by name, from the current directory."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

from trainer.config import TrainerError


class Named:
    """Wraps the function that `module:function` names; a call imports it first.

    A call raises:
      TrainerError: the module does not exist, or it has no such function.
      Exception: whatever the module raises at import, or the function when called.
    """

    def __init__(self, name: str, option: str) -> None:
        self.name, self.option = name, option

    def __call__(self, *arguments: Any) -> Any:
        return self.find()(*arguments)

    def find(self) -> Callable[..., Any]:
        """Imports and returns the function without calling it.

        Raises:
          TrainerError: the module does not exist, or it has no such function.
        """
        module_name, _, function_name = self.name.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        if not _exists(module_name):
            raise TrainerError(
                f"{self.option} {self.name}: there is no module {module_name!r} in {os.getcwd()!r} nor installed: run "
                "from the folder that holds it, or set PYTHONPATH."
            )
        function = getattr(importlib.import_module(module_name), function_name, None)
        if not callable(function):
            raise TrainerError(f"{self.option} {self.name}: module {module_name!r} has no function {function_name!r}.")
        return function


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
