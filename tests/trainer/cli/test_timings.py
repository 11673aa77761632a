"""`train --timings` prints how long the parts of the run took."""

from __future__ import annotations

import pathlib
import re

from pipelines.core.console import timings
from trainer.cli import main
from trainer.training import folds

DATA = pathlib.Path(__file__).parents[2] / "data/format_1/uint8"


def _run(config):
    with timings.part("training"):
        pass


def test_the_parts_are_printed_on_request(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folds, "run", _run)
    command = ["train", "--data", str(DATA), "--output", str(tmp_path / "run")]
    assert main.main(command) == 0
    assert capsys.readouterr().out == ""
    assert main.main([*command, "--timings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d+\.\d\d", "N", line) for line in lines] == [
        "", "imports   N s", "training  N s", "in all    N s",
    ]  # fmt: skip
