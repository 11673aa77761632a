"""Runs the examples in docstrings, so that none of them becomes untrue."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("pipelines", "trainer")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
# Takes a folder of photographs that no test has: its tests run it on others.
NOT_RUN = {"pipelines.job.prepare"}


def test_the_public_functions_have_examples():
    assert {"pipelines.contract.contract_file", "pipelines.contract.tensors", "pipelines.images.files.formats"} <= set(
        WITH_EXAMPLES
    )
    assert "trainer.data.dataset" in WITH_EXAMPLES


@pytest.mark.parametrize("module", sorted(set(WITH_EXAMPLES) - NOT_RUN))
def test_examples_are_true(module, monkeypatch):
    monkeypatch.chdir(ROOT)  # the examples read tests/data/format_1
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0
    assert found.failed == 0
