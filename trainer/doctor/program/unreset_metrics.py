"""Finds metrics of a loop that are never set back between its passes.

`fit` sets them back at each epoch. A loop that a program writes itself has to, or each number is the mean of all passes
so far.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

LOOPS = (ast.For, ast.While)
RESETS = ("reset_state", "reset_states")


class Unreset(NamedTuple):
    """Describes such a metric: its name, and the line that reads it after each pass."""

    name: str
    line: int


def find(code: str) -> Unreset | None:
    """Returns the first metric that is read after each pass and never set back.

    A metric that is made anew in the loop, or given to compile, is left alone. So is every metric where something of
    another name is set back, as in a loop over all metrics.

    Example:
      find(program)  # Unreset("accuracy", 41): accuracy.result() is read there after each epoch
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    in_loops = {id(part) for loop in ast.walk(tree) if isinstance(loop, LOOPS) for part in ast.walk(loop)}
    made = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and id(node) not in in_loops and _is_metric(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if any(name not in made for name in _called_on(tree, RESETS)):
        return None
    compiled = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in ("metrics", "weighted_metrics")
        for name in ast.walk(node.value)
        if isinstance(name, ast.Name)
    }
    left = made - set(_called_on(tree, RESETS)) - compiled
    for loop in ast.walk(tree):
        if isinstance(loop, LOOPS) and any(isinstance(part, LOOPS) for part in _inside(loop)):
            for part in _after_inner_loops(loop):
                name = _result_of(part)
                if name in left:
                    return Unreset(name, part.lineno)
    return None


def _is_metric(value: ast.expr) -> bool:
    """Tells whether an expression makes a metric, such as keras.metrics.Mean()."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    path = ast.unparse(value.func).split(".")
    return "metrics" in path[:-1] and path[-1][:1].isupper()


def _called_on(tree: ast.AST, methods: tuple[str, ...]) -> list[str]:
    """Returns on what the methods are called, such as "accuracy" or "self.loss"."""
    return [
        ast.unparse(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods
    ]


def _inside(loop: ast.AST) -> Iterator[ast.AST]:
    parts = ast.walk(loop)
    next(parts)  # the loop itself
    return parts


def _after_inner_loops(loop: ast.AST) -> Iterator[ast.Call]:
    """Yields the calls in a loop that are in no loop inside of it."""
    for part in ast.iter_child_nodes(loop):
        if isinstance(part, ast.Call):
            yield part
        if not isinstance(part, LOOPS):
            yield from _after_inner_loops(part)


def _result_of(call: ast.Call) -> str:
    """Returns "accuracy" of accuracy.result(); "" for other calls."""
    is_result = isinstance(call.func, ast.Attribute) and call.func.attr == "result"
    return call.func.value.id if is_result and isinstance(call.func.value, ast.Name) else ""  # type: ignore[attr-defined]
