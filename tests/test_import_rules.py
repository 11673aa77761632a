"""Enforces what each room may import, so that a new edge between rooms is a visible change of this file."""

import ast
import importlib
import json
import pathlib
import re

import pytest

from tests.support import fresh_python

ROOT = pathlib.Path(__file__).parents[1]
# Room -> the rooms that it may import. A room is a sub-package, or a module at the top of a program.
# Imports inside functions and under TYPE_CHECKING count.
MAY_IMPORT = {
    "pipelines/core": "",
    "pipelines/options": "core",
    "pipelines/contract": "core",
    "pipelines/storage": "core",
    "pipelines/config": "contract core images inputs plan records storage tasks options",
    "pipelines/work_dir": "contract core storage options",
    "pipelines/tasks": "contract core",
    "pipelines/inputs": "contract core storage tasks",
    "pipelines/images": "core storage workers",
    "pipelines/plan": "contract core tasks",
    "pipelines/workers": "core storage",
    "pipelines/records": "work_dir contract core images storage tasks workers",
    "pipelines/runners": "core storage",
    "pipelines/dataset": "work_dir contract core images inputs storage tasks",
    "pipelines/report": "contract core",
    "pipelines/job": "config work_dir contract core dataset images inputs plan records report runners storage "
    "tasks workers options",
    "pipelines/beam_workers": "core job",
    "pipelines/sample": "",
    "pipelines/cli": "config work_dir beam_workers contract core dataset inputs job runners sample storage "
    "tasks workers options",
    "pipelines/__main__": "cli",
    "pipelines/formats": "images",
    "pipelines/prepare": "cli job",
    "trainer/config": "pipelines/core pipelines/options",
    "trainer/recipe": "config pipelines/contract pipelines/core pipelines/options",
    "trainer/run_dir": "config pipelines/contract pipelines/core pipelines/options",
    "trainer/cloud_mirror": "config pipelines/core",
    "trainer/data": "config pipelines/contract pipelines/core",
    "trainer/dataset": "data",
    "trainer/models": "config pipelines/contract pipelines/core",
    "trainer/evaluation": "config run_dir data models pipelines/contract pipelines/core pipelines/options",
    "trainer/tasks": "config run_dir data models evaluation pipelines/contract pipelines/core",
    "trainer/serving": "config run_dir data models tasks pipelines/contract pipelines/core pipelines/images "
    "pipelines/options",
    "trainer/reporting": "run_dir evaluation tasks pipelines/contract pipelines/core",
    "trainer/devices": "config models pipelines/contract pipelines/core pipelines/options",
    "trainer/training": "config run_dir data models evaluation reporting serving devices tasks pipelines/contract "
    "pipelines/core pipelines/options",
    "trainer/bench": "config data devices models tasks training pipelines/contract pipelines/core pipelines/options",
    "trainer/ablation": "config run_dir evaluation models tasks training pipelines/contract pipelines/core "
    "pipelines/options",
    "trainer/doctor/config": "pipelines/core pipelines/options",
    "trainer/doctor/clock": "",
    "trainer/doctor/finding": "",
    "trainer/doctor/catalogue": "doctor/finding",
    "trainer/doctor/subject": "doctor/catalogue doctor/config doctor/clock doctor/finding config run_dir "
    "data models tasks pipelines/contract pipelines/core pipelines/images pipelines/options",
    "trainer/doctor/advice": "doctor/config doctor/finding doctor/subject models pipelines/contract",
    "trainer/doctor/tools": "doctor/clock doctor/finding doctor/subject data evaluation pipelines/contract",
    "trainer/doctor/copies": "doctor/clock doctor/finding doctor/subject doctor/tools",
    "trainer/doctor/probes": "doctor/catalogue doctor/clock doctor/copies doctor/finding doctor/subject doctor/tools "
    "models pipelines/contract pipelines/core",
    "trainer/doctor/proof": "",
    "trainer/doctor/prove": "doctor/clock doctor/copies doctor/finding doctor/proof doctor/subject doctor/tools",
    "trainer/doctor/output": "doctor/finding doctor/proof doctor/subject reporting pipelines/contract pipelines/core",
    "trainer/doctor/run_probes": "doctor/clock doctor/finding doctor/subject doctor/probes doctor/tools doctor/output "
    "pipelines/core",
    "trainer/doctor/watching": "doctor/catalogue doctor/finding doctor/subject doctor/tools",
    "trainer/doctor/program": "config doctor/catalogue doctor/clock doctor/config doctor/finding doctor/output "
    "doctor/probes doctor/proof doctor/prove doctor/run_probes doctor/subject doctor/tools doctor/watching "
    "pipelines/core pipelines/options",
    "trainer/doctor/named": "doctor/advice doctor/config doctor/run_probes doctor/subject doctor/probes doctor/output "
    "doctor/prove",
    "trainer/doctor/command": "doctor/config doctor/named doctor/program doctor/output pipelines/core",
    "trainer/cli": "config recipe run_dir ablation bench doctor/command doctor/config doctor/named evaluation models "
    "reporting serving tasks training pipelines/cli pipelines/contract pipelines/core pipelines/options",
    "trainer/task": "cli cloud_mirror config recipe run_dir training pipelines/contract pipelines/core "
    "pipelines/options",
    "trainer/__main__": "cli",
}
# What only these files of the trainer may import: pipelines/images, to open the image files of strangers.
ONLY_THERE = {
    "pipelines/images": {"trainer/serving/predict.py", "trainer/doctor/subject/folder.py"},
    "pipelines/cli": {"trainer/cli/shardmill.py"},
}


def _modules():
    found = {}
    for package in ("pipelines", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _room(module):
    """'pipelines/core' of 'pipelines.core.text'; '' of a package that holds rooms."""
    parts = module.split(".")
    if module in ("pipelines", "trainer", "trainer.doctor"):
        return ""
    depth = 3 if parts[:2] == ["trainer", "doctor"] else 2
    return "/".join(parts[:depth])


def _imports(module):
    """Yields (imported module, line) of every import of ours, lazy ones included."""
    path = MODULES[module]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                target = full if full in MODULES else node.module
                if target in MODULES:
                    yield target, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in MODULES:
                    yield alias.name, node.lineno


def test_every_room_imports_only_what_it_may():
    faults = []
    for module, path in MODULES.items():
        room, file = _room(module), path.relative_to(ROOT).as_posix()
        if not room:
            continue
        assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
        program = room.split("/")[0]
        allowed = {name if name.startswith("pipelines/") else f"{program}/{name}" for name in MAY_IMPORT[room].split()}
        for target, line in _imports(module):
            other = _room(target)
            if other and other != room and other not in allowed:
                faults.append(f"{file}:{line}: {room} may not import {other}")
    assert not faults, "\n".join(faults)


def test_no_rule_is_left_over():
    used = {(_room(m), _room(t)) for m in MODULES for t, _ in _imports(m)}
    rooms = {_room(m) for m in MODULES}
    assert set(MAY_IMPORT) <= rooms
    left = []
    for room, names in MAY_IMPORT.items():
        program = room.split("/")[0]
        for name in names.split():
            other = name if name.startswith("pipelines/") else f"{program}/{name}"
            if (room, other) not in used:
                left.append(f"{room} -> {other}")
    assert not left, f"nothing imports these any more: {left}"


def test_pipelines_never_import_the_trainer_and_the_trainer_only_what_both_share():
    for module, path in MODULES.items():
        for target, line in _imports(module):
            where = f"{path.relative_to(ROOT)}:{line} imports {target}"
            if module.startswith("pipelines"):
                assert not target.startswith("trainer"), where
            elif target.startswith("pipelines."):
                room = _room(target)
                shared = room in ("pipelines/contract", "pipelines/core", "pipelines/options")
                only = path.relative_to(ROOT).as_posix() in ONLY_THERE.get(room, ())
                assert shared or only, where


def _circles(edges):
    """The strongly connected components of more than one node (Tarjan 1972)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in sorted(edges):
        if node not in order:
            visit(node)
    return found


def test_circles_are_found():
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}}) == [["b", "c"]]
    assert _circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_circle_of_modules_or_rooms():
    rooms, modules = {}, {}
    for module in MODULES:
        for target, _ in _imports(module):
            modules.setdefault(module, set()).add(target)
            if _room(module) and _room(target) and _room(module) != _room(target):
                rooms.setdefault(_room(module), set()).add(_room(target))
    assert _circles(rooms) == []
    assert _circles(modules) == []


def test_no_private_name_of_another_module():
    """Neither `from module import _name` nor `module._name`, where `module` is one of ours."""
    faults = []
    for path in MODULES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        ours = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("pipelines", "trainer"):
                for alias in node.names:
                    if alias.name.startswith("_"):
                        faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {alias.name}")
                    if f"{node.module}.{alias.name}" in MODULES:
                        ours.add(alias.asname or alias.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
                name = node.attr
                if name.startswith("_") and not name.startswith("__"):
                    faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.value.id}.{name}")
    assert not faults, "\n".join(faults)


def test_every_room_says_what_is_in_it():
    for room in {p.parent for p in MODULES.values()}:
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert text, f"{room.relative_to(ROOT)}/__init__.py has no docstring"
        assert len(text.splitlines()) <= 10, f"{room.relative_to(ROOT)}/__init__.py: ten lines at most"


LIGHT = [
    "pipelines.contract", "pipelines.config", "pipelines.cli.options", "pipelines.cli.main", "pipelines.core",
    *(
        f"pipelines.{room}.{p.stem}"
        for room in ("core", "options")
        for p in (ROOT / "pipelines" / room).glob("[a-z]*.py")
    ),
    "trainer.config", "trainer.cli.main", "trainer.run_dir",
    "trainer.doctor.config", "trainer.doctor.command", "trainer.ablation.config",
]  # fmt: skip
HEAVY = {"tensorflow", "apache_beam", "tensorflow_transform", "keras", "tf_keras"}


def _loaded(modules):
    """The modules that a new interpreter has loaded after these imports."""
    code = f"import json, sys; import {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(fresh_python.output_of(code).splitlines()[-1]))


@pytest.mark.parametrize("module", LIGHT)
def test_contract_configuration_and_command_line_load_neither_tensorflow_nor_beam(module):
    assert not _loaded([module]) & HEAVY


@pytest.mark.slow
def test_the_trainer_loads_neither_beam_nor_transform():
    loaded = _loaded(
        ["trainer.cli.main", "trainer.training.train", "trainer.evaluation.evaluate", "trainer.serving.export",
         "trainer.models.alignment", "trainer.dataset"]
    )  # fmt: skip
    assert not {name.split(".")[0] for name in loaded} & {"apache_beam", "tensorflow_transform", "tf_keras"}
    rooms = {"/".join(name.split(".")[:2]) for name in loaded if name.startswith("pipelines.")}
    assert rooms <= {"pipelines/contract", "pipelines/core", "pipelines/options"}


def test_the_public_names_are_those_of_the_docs():
    """docs/api.md lists, under "Public names", every name that others may import."""
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    section = text.split("## Public names")[1].split("\n## ")[0]
    documented = {
        m: set(re.findall(r"`(\w+)`", names)) for m, names in re.findall(r"\| `([\w.]+)` \| (.*) \|", section)
    }
    assert set(documented) == {"pipelines.contract", "pipelines.formats", "pipelines.prepare", "trainer.dataset"}
    for module, names in documented.items():
        assert set(importlib.import_module(module).__all__) == names, module
