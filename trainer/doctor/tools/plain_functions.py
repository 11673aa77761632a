"""Tells which functions of a program can be called once more without a trace.

Such a function computes with its arguments and with constants. It writes nothing, prints nothing and draws no numbers.
"""

from __future__ import annotations

import builtins
import dis
import math
import types
from collections.abc import Callable, Mapping
from typing import Any

MOST_NESTED = 3  # functions that call each other
# Beginnings of the instructions that change something outside of a function, or make other functions.
CHANGES = (
    "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE", "STORE_NAME", "DELETE", "IMPORT",
    "YIELD", "SEND", "RETURN_GENERATOR", "MAKE_FUNCTION", "LOAD_BUILD_CLASS",
)  # fmt: skip
BUILTINS = {"abs", "bool", "float", "int", "len", "max", "min", "pow", "range", "round", "sum"}
MODULES = {"math", "numpy", "tensorflow"}
# Names that may stand behind a dot: functions of these modules that only compute, and ways to their results.
ATTRIBUTES = {name for name in dir(math) if not name.startswith("_")} | {
    "abs", "cast", "clip", "constant", "float32", "float64", "interp", "item", "math", "maximum", "minimum", "numpy",
    "power", "round", "where",
}  # fmt: skip


def is_plain(function: Any, nested: int = MOST_NESTED) -> bool:
    """Tells whether a function only computes, as far as its code can be read."""
    if not isinstance(function, types.FunctionType) or not nested:
        return False
    code = function.__code__
    if any(instruction.opname.startswith(CHANGES) for instruction in dis.get_instructions(code)):
        return False
    try:
        held = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a name that has no value yet
        return False
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    held += [function.__globals__[name] for name in code.co_names if name in function.__globals__]
    others = [name for name in code.co_names if name not in function.__globals__]
    known = all(name in ATTRIBUTES or (name in BUILTINS and hasattr(builtins, name)) for name in others)
    return known and all(_only_computes(value, nested) for value in held)


def _only_computes(value: Any, nested: int) -> bool:
    if isinstance(value, types.ModuleType):
        return value.__name__ in MODULES
    if isinstance(value, types.FunctionType):
        return is_plain(value, nested - 1) or value in _OF_MATH
    return value in _OF_MATH if isinstance(value, Callable) else _is_constant(value)  # type: ignore[arg-type]


def _is_constant(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_constant(part) for part in (*value.keys(), *value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, int | float | str)


_OF_MATH = [value for name, value in vars(math).items() if not name.startswith("_") and callable(value)]
