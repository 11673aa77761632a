"""The fuzzer: a short run of each target, and that it tells what raises and saves it."""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_PATH = pathlib.Path(__file__).parents[3] / "benchmarks/fuzz.py"
_SPEC = importlib.util.spec_from_file_location("fuzz", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(fuzz.TARGETS))
def test_a_short_run_of_each_target(target, tmp_path, capsys):
    assert fuzz.main(["--inputs", "400", "--seed", "7", "--target", target, "--save", str(tmp_path / "saved")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{target}: 400 inputs from ")
    accepted, refused = (int(said.split(word)[0].split()[-1].replace(",", "")) for word in (" accepted", " refused"))
    assert min(accepted, refused) > 25  # it reaches what lies behind the first check, and the checks
    assert accepted + refused == 400
    assert not (tmp_path / "saved").exists()


def test_the_same_seed_gives_the_same_inputs():
    for seeds, mutate, _, _ in fuzz.TARGETS.values():
        good = seeds()
        made = [[mutate(random.Random(f"{seed}"), good) for seed in range(20)] for _ in range(2)]
        assert made[0] == made[1]
        assert len(set(made[0])) > 10


def test_what_raises_something_else_is_saved(tmp_path, monkeypatch):
    def read(data: bytes) -> None:
        raise KeyError(data)

    seeds, mutate, _, expected = fuzz.TARGETS["header"]
    monkeypatch.setitem(fuzz.TARGETS, "header", (seeds, mutate, read, expected))
    assert fuzz.main(["--inputs", "2", "--target", "header", "--save", str(tmp_path)]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["header-0-0.bin", "header-0-1.bin"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(fuzz.TARGETS)), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(target, data):
    _, _, read, expected = fuzz.TARGETS[target]
    with contextlib.suppress(expected):
        read(b"m.csv\0" + data if target == "manifest" else data)


def test_what_leads_through_new_lines_is_told(tmp_path):
    (tmp_path / "reader.py").write_text(
        "def read(data):\n    if data[0] == 1:\n        if data[1] == 2:\n            return 'deep'\n"
        "    return 'flat'\n"
    )
    spec = importlib.util.spec_from_file_location("reader", tmp_path / "reader.py")
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    guide = fuzz.guide.Guide([tmp_path])
    told = []
    for data in (b"\0\0", b"\5\5", b"\1\0", b"\1\2", b"\1\2"):
        with guide.watching():
            reader.read(data)
        told.append(guide.is_new())
    assert told == [True, False, True, True, False]
    assert {(first, last) for _, first, last in guide.arcs} == {(0, 2), (2, 5), (2, 3), (3, 5), (3, 4)}
