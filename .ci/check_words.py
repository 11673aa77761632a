"""Checks that docstrings begin with a verb and a first line of 80 characters.

    python .ci/check_words.py [FILE OR FOLDER ...]

A verb in the third person ends in "s": "Reads", "Returns", "Is". Nouns in the plural also do. The list below holds
those that have occurred. The first line may have at most 80 characters. Docstrings of tests, of `__init__` methods and
of nested functions are not checked.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import sys
from collections.abc import Iterator

LONGEST = 80  # characters
NOUNS = frozenset(
    [
        "Across",
        "As",
        "Batches",
        "Bins",
        "Bits",
        "Bounds",
        "Bytes",
        "Categories",
        "Characters",
        "Class",
        "Classes",
        "Columns",
        "Constants",
        "Counts",
        "Cases",
        "Details",
        "Digests",
        "Errors",
        "Examples",
        "Features",
        "Figures",
        "Files",
        "Findings",
        "Folders",
        "Frames",
        "Functions",
        "Images",
        "Instructions",
        "Items",
        "Its",
        "Keys",
        "Labels",
        "Layers",
        "Lines",
        "Logits",
        "Losses",
        "Metrics",
        "Models",
        "Names",
        "Numbers",
        "Objects",
        "Options",
        "Others",
        "Pairs",
        "Paths",
        "Pictures",
        "Pixels",
        "Places",
        "Points",
        "Probabilities",
        "Probes",
        "Process",
        "Processes",
        "Records",
        "References",
        "Rejects",
        "Results",
        "Rows",
        "Runs",
        "Samples",
        "Seconds",
        "Sentences",
        "Settings",
        "Shards",
        "Sources",
        "Splits",
        "Statistics",
        "Steps",
        "Strings",
        "Sums",
        "Tensors",
        "Texts",
        "Thousands",
        "Thresholds",
        "Totals",
        "Values",
        "Versions",
        "Weights",
        "Words",
        "Workers",
        "This",
        "Thus",
        "Always",
        "Perhaps",
        "Besides",
        "Towards",
        "Less",
    ]
)
ALSO = frozenset(("Do", "Have"))  # verbs in the imperative, with which rules begin


def faults(path: pathlib.Path) -> Iterator[tuple[int, str, str]]:
    """Yields (line, name, fault) of each docstring of a file that breaks the rule."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]] = [("module", tree)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            bodies.append((node.name, node))
        if isinstance(node, ast.ClassDef):
            functions = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            bodies += [(f"{node.name}.{f.name}", f) for f in functions]
    for name, body in bodies:
        text = ast.get_docstring(body)
        if not text:
            continue
        first = text.splitlines()[0]
        line = body.body[0].lineno
        if len(first) > LONGEST:
            yield line, name, f"{len(first)} characters, at most {LONGEST}"
        word = first.split()[0].strip("`.,:;\"'()")
        if word in NOUNS or not (word in ALSO or (word.isalpha() and word[:1].isupper() and word.endswith("s"))):
            yield line, name, f"begins with {word!r}, not with a verb such as Reads or Returns"


def main(arguments: list[str]) -> int:
    """Prints every fault and returns 1 if there is one."""
    roots = [pathlib.Path(a) for a in arguments or ("pipelines", "trainer", ".ci")]
    files = [file for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*.py")))]
    found: collections.Counter[str] = collections.Counter()
    for file in files:
        for line, name, fault in faults(file):
            print(f"{file}:{line}: docstring of {name}: {fault}")
            found[str(file.parent)] += 1
    if found:
        print(f"{sum(found.values())} docstrings to mend: " + ", ".join(f"{k} {v}" for k, v in sorted(found.items())))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
