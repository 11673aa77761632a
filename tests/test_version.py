"""The version is named in one place, and everything that tells it reads it there."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import pipelines
from pipelines import contract

ROOT = pathlib.Path(__file__).parents[1]


def output(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_changelog_begins_with_this_version():
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1] == pipelines.__version__


def test_setup_reads_it():
    assert pipelines.__version__ not in (ROOT / "setup.py").read_text()
    assert output("setup.py", "--version").split()[-1] == pipelines.__version__


@pytest.mark.parametrize("program", ["pipelines", "trainer"])
def test_both_programs_tell_it(program):
    assert output("-m", program, "--version") == f"shardmill {pipelines.__version__}\n"


def test_importing_it_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import pipelines; print(sorted(set(sys.modules) - before))"
    assert output("-c", code) == "['pipelines']\n"


def test_a_contract_says_which_version_wrote_it(prepared):
    assert contract.load(prepared[0]).versions["shardmill"] == pipelines.__version__
