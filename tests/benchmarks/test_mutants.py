"""The table of `make mutants`: each change can still be made, and the page shows the same table."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import subprocess
import sys

import pytest

from benchmarks import mutants


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_a_text_is_there_exactly_once_and_the_change_is_python(mutant):
    source = (mutants.ROOT / mutant.file).read_text(encoding="utf-8")
    changed = mutant.changed(source)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))  # no comment or docstring alone
    for test in mutant.tests:
        file, _, name = test.partition("::")
        text = (mutants.ROOT / file).read_text(encoding="utf-8")
        if name:
            [found] = [node for node in ast.parse(text).body if getattr(node, "name", "") == name]
            # `make mutants` runs no test that is marked as slow.
            assert "pytest.mark.slow" not in map(ast.unparse, found.decorator_list), f"{test} is slow."


def test_a_text_that_is_not_there_once_is_refused():
    mutant = mutants.Mutant("m", "a.py", "1", "2", ("tests",), "")
    assert mutant.changed("x = 1\n") == "x = 2\n"
    with pytest.raises(ValueError, match=r"m: the text should occur once in a\.py\. It occurs 2 times"):
        mutant.changed("x = 1 + 1\n")
    with pytest.raises(ValueError, match="It occurs 0 times"):
        mutant.changed("x = 3\n")
    with pytest.raises(ValueError, match="the change changes nothing"):
        dataclasses.replace(mutant, by="1").changed("x = 1\n")


def test_the_page_shows_the_table():
    page = mutants.PAGE.read_text(encoding="utf-8")
    assert mutants.regenerated(page, mutants.mutants()) == page, "run `make docs`"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A program of one function, whose tests see its result for 3 and not for 2."""
    files = {
        "program.py": "def half(x):\n    return x // 2\n",
        "tests/test_program.py": "import program\n\ndef test_it():\n    assert program.half(3) == 1\n",
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["slow: no"]\n',
    }
    for name, text in files.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "project")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path / "project", check=True)
    (tmp_path / "project/untracked.py").write_text("")
    mutants._copy_tracked(tmp_path / "copy/tree")
    return tmp_path / "copy/tree"


def of_half(name: str, by: str) -> mutants.Mutant:
    return mutants.Mutant(name, "program.py", "x // 2", by, ("tests/test_program.py",), f"Half of x is {by}")


@pytest.mark.slow
def test_what_survives_is_told_and_all_is_undone(project, capsys):
    assert not (project / "untracked.py").exists()
    found = [of_half("killed", "x // 3 + 1"), of_half("survives", "x // 3"), of_half("no-python", "x //")]
    assert mutants._run(project, found[:1]) == 0
    assert mutants._run(project, found) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "1 of 3 changes were noticed, in 0 minutes."
    assert lines[-2] == "survives: SURVIVED: Half of x is x // 3 (program.py)."
    assert lines[-1] == "no-python: NOT JUDGED (pytest ended with 2): Half of x is x // (program.py)."
    assert any(line.endswith("killed  tests/test_program.py::test_it") for line in lines)
    assert (project / "program.py").read_text() == "def half(x):\n    return x // 2\n"


def test_tests_that_fail_without_a_change_end_it(project, capsys):
    (project / "program.py").write_text("def half(x):\n    return x / 2\n")
    assert mutants._run(project, [of_half("killed", "x")]) == 1
    assert "The tests should pass without a change. pytest ended with 1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_ended_and_proves_nothing(project, monkeypatch):
    monkeypatch.setattr(mutants, "LIMIT", 2)
    endless = of_half("endless", "next(x for x in iter(int, 1) if x)")
    status, seconds, _ = mutants._tested_with(project, endless)
    assert status not in (mutants.PASSED, mutants.FAILED)
    assert 2 <= seconds < 60
    assert (project / "program.py").read_text() == "def half(x):\n    return x // 2\n"


def test_one_change_by_name_and_a_wrong_name():
    script = [sys.executable, str(pathlib.Path(mutants.__file__))]
    done = subprocess.run([*script, "--list", "--only", "confusion-transposed"], capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    done = subprocess.run([*script, "--only", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "There is no change named nothing." in done.stderr
