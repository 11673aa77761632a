"""Finds answers of predict that a program compares with labels that it has stored."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.doctor.tools import tfdata_steps

SCORES = (
    "confusion_matrix", "classification_report", "accuracy_score", "balanced_accuracy_score", "f1_score", "fbeta_score",
    "precision_score", "recall_score", "roc_auc_score", "average_precision_score", "cohen_kappa_score", "roc_curve",
    "precision_recall_curve", "log_loss", "matthews_corrcoef", "mean_squared_error", "mean_absolute_error", "r2_score",
    "crosstab",
)  # fmt: skip
# Names of labels of many rows, and not of one class.
LABELS = re.compile(
    r"^(?!.*_(class|id|idx|index)$)(.*_)?(y|labels?|targets?|truth|true|classes|gt|actual)(_.*)?$", re.IGNORECASE
)
GROWS = ("append", "extend")
MOST_BATCHES = 8  # of a PyDataset, whose labels are compared between two passes


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Describes a comparison of answers with labels.

    line: of the comparison. labels: their code, such as "y_test".
    """

    line: int
    labels: str


def find(code: str, predict_line: int) -> Comparison | None:
    """Returns the first comparison of the answers of a call of predict.

    Labels that come from the data of this call, as by data[i] or a loop over them, do not count. It returns None where
    there is no such comparison.

    Args:
      predict_line: a line of the call.
    """
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    call = next((node for node in ast.walk(tree) if _is_predict(node, predict_line)), None)
    if not isinstance(call, ast.Call):
        return None
    given = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "x"), None)
    answers = _names_from(tree, lambda node: node is call)
    data = ast.unparse(given) if isinstance(given, ast.Name | ast.Attribute) else ""
    seen = _names_from(tree, lambda node: _reads(node, data))

    def is_answer(node: ast.expr) -> bool:
        return any(part is call or (isinstance(part, ast.Name) and part.id in answers) for part in ast.walk(node))

    def is_stored(node: ast.expr) -> bool:
        parts = list(ast.walk(node))
        names = {part.id for part in parts if isinstance(part, ast.Name)}
        spelled = names | {part.attr for part in parts if isinstance(part, ast.Attribute)}
        if is_answer(node) or names & seen or any(_reads(part, data) for part in parts):
            return False
        return any(map(LABELS.match, spelled))

    for line, sides in sorted(_compared(tree), key=lambda pair: pair[0]):
        stored = [side for side in sides if is_stored(side)]
        if stored and any(map(is_answer, sides)):
            return Comparison(line, ast.unparse(stored[0]))
    return None


def shuffles(data: Any) -> str:
    """Returns a sentence if data for predict come in another order than stored.

    It returns "" for data that do not shuffle, or where that cannot be seen.
    """
    if isinstance(data, tf.data.Dataset):
        shuffled = any(step.kind.startswith("Shuffle") for step in tfdata_steps.steps(data))
        return "The dataset has .shuffle()." if shuffled else ""
    if hasattr(data, "index_array"):  # an iterator of keras.preprocessing
        return "The iterator has shuffle=True." if getattr(data, "shuffle", False) else ""
    try:
        count = min(MOST_BATCHES, int(data.num_batches))
        passes = []
        for _ in range(2):
            passes.append(np.concatenate([np.asarray(data[i][1]) for i in range(count)]))
            data.on_epoch_end()
    except Exception:  # it may give no labels, or anything else
        return ""
    one, other = passes
    is_moved = one.shape == other.shape and (one != other).any() and np.isin(other, one).all()
    return "The PyDataset gives its labels in another order in each pass." if is_moved else ""


def _is_predict(node: ast.AST, line: int) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    return node.func.attr.startswith("predict") and node.lineno <= line <= (node.end_lineno or node.lineno)


def _reads(node: ast.AST, data: str) -> bool:
    """Tells whether an expression takes batches out of data.

    A loop over pairs does so, whatever the data are called there.
    """
    if isinstance(node, ast.comprehension | ast.For):
        called = getattr(node.iter.func, "id", "") if isinstance(node.iter, ast.Call) else ""
        parts = node.target.elts if isinstance(node.target, ast.Tuple) else []
        if called == "enumerate":
            parts = [part for part in parts if isinstance(part, ast.Tuple)]
        return ast.unparse(node.iter) == data or (bool(parts) and called != "zip")
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) == data
    return isinstance(node, ast.Attribute) and node.attr == "index_array"


def _names_from(tree: ast.AST, is_source: Callable[[ast.AST], bool]) -> set[str]:
    """Returns the names that get something made of a source.

    They get it directly or by other names.
    """
    found: set[str] = set()
    while True:
        before = len(found)
        for node, targets, values in _given(tree):
            parts = [part for value in values for part in ast.walk(value)]
            if is_source(node) or any(is_source(p) or (isinstance(p, ast.Name) and p.id in found) for p in parts):
                found |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        if len(found) == before:
            return found


def _given(tree: ast.AST) -> Iterator[tuple[ast.AST, list[ast.expr], list[ast.expr]]]:
    """Yields (node, targets, values) of what gives values to names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield node, node.targets, [node.value]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield node, [node.target], [node.value]
        elif isinstance(node, ast.For):
            yield node, [node.target], [node.iter]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in GROWS:
            yield node, [node.func.value], node.args


def _compared(tree: ast.AST) -> Iterator[tuple[int, list[ast.expr]]]:
    """Yields (line, sides) of what compares two things row by row."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            yield node.lineno, [node.left, node.comparators[0]]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            yield node.lineno, [node.left, node.right]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in (*SCORES, "zip", "equal"):
                yield node.lineno, [*node.args, *(keyword.value for keyword in node.keywords)]
