"""Finds an argmax over the answers of a model that has one output: it is always 0."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

ALONG_OUTPUTS = (1, -1)
MODULES = ("np", "numpy", "tf", "tensorflow", "math", "ops", "keras", "K", "backend", "jnp")


def find(code: str, has_one_output: Callable[[range], bool]) -> int | None:
    """Returns the first line with such an argmax; None without.

    Args:
      code: the program.
      has_one_output: tells of the lines of a call of predict whether it ran, each time on a model with one output.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    for line, predict in _taken(tree):
        if has_one_output(range(predict.lineno, (predict.end_lineno or predict.lineno) + 1)):
            return line
    return None


def _taken(tree: ast.AST) -> Iterator[tuple[int, ast.Call]]:
    """Yields (line of an argmax along the outputs, its call of predict)."""
    given = [(node.lineno, node.targets[0].id, node.value) for node in ast.walk(tree)
             if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]  # fmt: skip
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "argmax"):
            continue
        of, rest = node.func.value, list(node.args)
        if isinstance(of, ast.Name | ast.Attribute) and (of.id if isinstance(of, ast.Name) else of.attr) in MODULES:
            if not rest:
                continue
            of, rest = rest[0], rest[1:]
        axis = next((keyword.value for keyword in node.keywords if keyword.arg == "axis"), rest[0] if rest else None)
        if axis is None or ast.unparse(axis) not in map(str, ALONG_OUTPUTS):
            continue
        if isinstance(of, ast.Name):  # what it was given last before this line
            before = [(line, value) for line, name, value in given if name == of.id and line < node.lineno]
            of = max(before, key=lambda pair: pair[0])[1] if before else of
        if isinstance(of, ast.Call) and isinstance(of.func, ast.Attribute) and of.func.attr == "predict":
            yield node.lineno, of
