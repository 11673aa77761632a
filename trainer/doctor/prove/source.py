"""Changes one expression of a user's program, and writes the change as a patch."""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

from trainer.doctor.subject.training import Place

# Positional arguments of the methods that an edit may change.
POSITIONAL = {
    "compile": ("optimizer", "loss"),
    "fit": ("x", "y", "batch_size", "epochs"),
    "Dense": ("units", "activation"),
    "Conv1D": ("filters", "kernel_size"),
    "Conv2D": ("filters", "kernel_size"),
    "Activation": ("activation",),
    "Dropout": ("rate",),
}


@dataclasses.dataclass(frozen=True)
class Edit:
    """Describes a change of one argument of a call.

    place: the line of the call.
    call: the last part of the name that is called, as "compile" or "Dense".
    name: of the argument. value: its new expression; None to leave the argument out.
    inside: name of an argument of the argument, if that is a call of its own, as in optimizer=Adam(learning_rate=...).
      Where the argument is the name of a variable, the call that is assigned to it is changed; where it is a text, such
      as "adam", `value` is put into a call of `rule`.
    rule: the class for the last case.
    """

    place: Place | None
    call: str
    name: str
    value: str | None
    inside: str = ""
    rule: str = ""


@dataclasses.dataclass(frozen=True)
class AfterInput:
    """Describes a layer that is put behind the Input of a model.

    place: the line of Input. layer: its name and arguments, as "Rescaling(1 / 255)".
    """

    place: Place | None
    layer: str


def patch(file: str, text: str, edits: Sequence[Edit | AfterInput]) -> str:
    """Returns a unified diff with all edits; "" if one cannot be made."""
    changed = text
    for edit in edits:
        if edit.place is None:
            return ""
        try:
            changed = _after_input(changed, edit) if isinstance(edit, AfterInput) else _argument(changed, edit)
        except (LookupError, SyntaxError):
            return ""
    if changed == text:
        return ""
    old, new = (part.splitlines(keepends=True) for part in (text, changed))
    return "".join(difflib.unified_diff(old, new, f"a/{file}", f"b/{file}", n=2))


def _argument(text: str, edit: Edit) -> str:
    """Returns the text with one argument changed.

    Raises:
      LookupError: the call or the argument is not found, or not alone.
    """
    tree = ast.parse(text)
    call = _call(tree, edit)
    if not edit.inside:
        return _set(text, call, edit.call, edit.name, edit.value)
    node = _given(call, edit.call, edit.name)
    if isinstance(node, ast.Name):
        node = _assigned(tree, node.id)
    if isinstance(node, ast.Call):
        return _set(text, node, "", edit.inside, edit.value)
    if node is None or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        named = f"{_keras(tree)}.optimizers.{edit.rule}({edit.inside}={edit.value})"
        return _set(text, call, edit.call, edit.name, named)
    raise LookupError(edit.name)


def _call(tree: ast.AST, edit: Edit) -> ast.Call:
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _name(node.func) == edit.call
        and edit.place is not None
        and node.lineno <= edit.place.line <= (node.end_lineno or node.lineno)
    ]
    if len(found) != 1:
        raise LookupError(edit.call)
    return found[0]


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _given(call: ast.Call, name: str, argument: str) -> ast.expr | None:
    if any(isinstance(arg, ast.Starred) for arg in call.args) or any(k.arg is None for k in call.keywords):
        raise LookupError(argument)
    given: dict[str, ast.expr] = {k.arg: k.value for k in call.keywords if k.arg}
    given |= dict(zip(POSITIONAL.get(name, ()), call.args, strict=False))
    return given.get(argument)


def _assigned(tree: ast.AST, name: str) -> ast.expr:
    """Returns what a variable is assigned; it has to be assigned once."""
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    if len(found) != 1:
        raise LookupError(name)
    return found[0]


def _set(text: str, call: ast.Call, name: str, argument: str, value: str | None) -> str:
    """Returns the text with an argument of a call replaced, added or left out."""
    positional = POSITIONAL.get(name, ("learning_rate",) if not name else ())
    keyword = next((k for k in call.keywords if k.arg == argument), None)
    if keyword is not None and value is None:
        start, end = _span(text, keyword)
        before = text[:start].rstrip()
        if before.endswith(","):
            return before[:-1] + text[end:]
        return before + text[end:].lstrip(", ")
    node = keyword.value if keyword is not None else None
    if node is None and argument in positional and positional.index(argument) < len(call.args):
        node = call.args[positional.index(argument)]
    if node is not None and value is not None:
        start, end = _span(text, node)
        return text[:start] + value + text[end:]
    if value is None:
        raise LookupError(argument)
    _given(call, name, argument)  # refuses *args and **options
    _, end = _span(text, call)
    before = text[: end - 1].rstrip()
    comma = "" if before.endswith((",", "(")) else ", "
    space = " " if before.endswith(",") else ""
    return f"{before}{comma}{space}{argument}={value}{text[end - 1 :]}"


def _after_input(text: str, edit: AfterInput) -> str:
    """Returns the text with a layer behind the Input.

    Raises:
      LookupError: there is no such Input, or it is neither in a list of layers nor added to a model.
    """
    tree = ast.parse(text)
    call = _call(tree, Edit(edit.place, "Input", "", ""))
    layer = f"{_keras(tree)}.layers.{edit.layer}"
    _, end = _span(text, call)
    for node in ast.walk(tree):
        if isinstance(node, ast.List) and any(item is call for item in node.elts):
            line_start = text.rfind("\n", 0, _span(text, call)[0]) + 1
            indent = text[line_start : _span(text, call)[0]]
            gap = f",\n{indent}" if not indent.strip() else ", "
            return f"{text[:end]}{gap}{layer}{text[end:]}"
        if isinstance(node, ast.Call) and _name(node.func) == "add" and call in node.args:
            start, end = _span(text, node)
            indent = text[text.rfind("\n", 0, start) + 1 : start]
            model = ast.get_source_segment(text, node.func)
            return f"{text[:end]}\n{indent}{model}({layer}){text[end:]}"
        if isinstance(node, ast.Assign) and node.value is call and isinstance(node.targets[0], ast.Name):
            return _in_first_use(text, tree, node.targets[0].id, layer)
    raise LookupError("Input")


def _in_first_use(text: str, tree: ast.AST, name: str, layer: str) -> str:
    """Returns the text with the layer called on a variable where a layer takes that."""
    uses = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Call)
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Name)
        and node.args[0].id == name
    ]
    if len(uses) != 1:
        raise LookupError(name)
    start, end = _span(text, uses[0])
    return f"{text[:start]}{layer}({name}){text[end:]}"


def _keras(tree: ast.AST) -> str:
    """Returns the program's name of the module keras.

    Raises:
      LookupError: it imports neither keras nor tensorflow by a name.
    """
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import) else ():
            if alias.name == "keras":
                return alias.asname or "keras"
            if alias.name == "tensorflow":
                return f"{alias.asname or 'tensorflow'}.keras"
        if isinstance(node, ast.ImportFrom) and node.module == "tensorflow":
            for alias in node.names:
                if alias.name == "keras":
                    return alias.asname or "keras"
    return "__import__('keras')"


def _span(text: str, node: Any) -> tuple[int, int]:
    """Returns where a node begins and ends in the text."""
    lines = text.splitlines(keepends=True)

    def offset(line: int, column: int) -> int:
        return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())

    return offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)
