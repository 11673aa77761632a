"""Turns a notebook into a script: the code of its cells, without magics."""

from __future__ import annotations

import json
import re
from typing import Any

from trainer.config import TrainerError

MAGIC = re.compile(r"^\s*(%|!|\?)|\?\s*$")
ASSIGNED = re.compile(r"^(\s*)([\w, ]+?)\s*=\s*[!%]\S")  # files = !ls
CELL = re.compile(r"^\s*%%(\w+)")
RUN_AS_CODE = ("time", "timeit", "capture", "prun")  # cell magics whose cell is Python


def to_script(text: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Returns the Python code of a notebook and the lines that were left out.

    Each cell begins with a comment of its number. A line that is left out stays as `pass`, so that the block around it
    keeps its body.

    Raises:
      TrainerError: the text is no notebook.
    """
    try:
        content = json.loads(text)
        cells = content["cells"] if "cells" in content else content["worksheets"][0]["cells"]
        sources = [_source(cell) for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
        raise TrainerError(f"{name} is no notebook that can be read ({type(e).__name__}: {e}).") from e
    lines: list[str] = []
    dropped: list[str] = []
    for number, source in enumerate(sources, 1):
        lines.append(f"# cell {number}")
        magic = CELL.match(source)
        if magic and magic[1] not in RUN_AS_CODE:
            dropped.append(f"cell {number}: {source.strip().splitlines()[0]}")
            continue
        for line in source.splitlines()[1 if magic else 0 :]:
            lines.append(_without_magic(line, number, dropped))
    return "\n".join(lines) + "\n", tuple(dropped)


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    return source if isinstance(source, str) else "".join(source)


def _without_magic(line: str, cell: int, dropped: list[str]) -> str:
    assigned = ASSIGNED.match(line)
    if not assigned and not MAGIC.search(line):
        return line
    if line.lstrip().startswith("#") or (not assigned and line.rstrip().endswith("?") and "#" in line):
        return line
    dropped.append(f"cell {cell}: {line.strip()}")
    indent = line[: len(line) - len(line.lstrip())]
    return f"{assigned[1]}{assigned[2]} = []" if assigned else f"{indent}pass  # {line.strip()}"
