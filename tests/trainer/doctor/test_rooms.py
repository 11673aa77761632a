"""The order of the doctor's rooms, of which each imports only those before it."""

import ast
from pathlib import Path

import pytest

DOCTOR = Path(__file__).parents[3] / "trainer" / "doctor"
SHARED = {"config", "clock", "finding", "catalogue"}  # for every room
MAY_IMPORT = {
    "config": set(),
    "clock": set(),
    "finding": set(),
    "catalogue": {"finding"},
    "subject": SHARED,
    "tools": SHARED | {"subject"},
    "copies": SHARED | {"subject", "tools"},
    "probes": SHARED | {"subject", "tools", "copies"},
    "proof": set(),
    "prove": SHARED | {"subject", "tools", "copies", "proof"},
    "output": SHARED | {"subject", "proof"},
    "run_probes": SHARED | {"subject", "tools", "probes", "output"},
    "watching": SHARED | {"subject", "tools"},
    "program": SHARED | {"subject", "tools", "probes", "output", "run_probes", "proof", "prove", "watching"},
    "advice": SHARED | {"subject"},
    "named": SHARED | {"advice", "subject", "probes", "output", "run_probes", "prove"},
    "command": SHARED | {"named", "output", "program"},
}
FILES = sorted(path for path in DOCTOR.rglob("*.py") if path != DOCTOR / "__init__.py")
MOST_PARAMETERS = 7


def room(path):
    return path.relative_to(DOCTOR).with_suffix("").parts[0]


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[2] for name in names if name.startswith("trainer.doctor."))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(DOCTOR)) for path in FILES])
def test_a_room_imports_only_the_rooms_before_it(path):
    own = room(path)
    assert set(imported_rooms(path)) - {own} <= MAY_IMPORT[own]


def test_functions_take_at_most_seven_parameters():
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                given = node.args
                names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                found[f"{path.name}:{node.lineno}"] = len([name for name in names if name not in ("self", "cls")])
    assert found
    assert {where: count for where, count in found.items() if count > MOST_PARAMETERS} == {}
