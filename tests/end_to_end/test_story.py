"""The story: three programs as people write them, and what the doctor says to each."""

from __future__ import annotations

import importlib
import os
import pathlib
import subprocess
import sys

import pytest

from tests.support.files.images import draw_photo
from trainer.doctor import run_probes
from trainer.doctor.probes import registry
from trainer.doctor.subject import load

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """80 pictures of two classes, 5:1, of several sizes."""
    root = tmp_path_factory.mktemp("story")
    for i in range(60):
        draw_photo(root / ("many" if i % 6 else "few") / f"{i:02d}.jpg", i, (70 + i % 5, 66), quality=90)
    return root


def verdict(program, data, monkeypatch):
    """The doctor's findings on a program, by id."""
    monkeypatch.setenv("DATA", str(data))
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.reload(importlib.import_module(f"examples.story.{program}"))
    subject = load.subject_of(dataset=module.dataset, model=module.model)
    report = run_probes.run(
        subject, [p for p in registry.all_probes() if "augmentation" in p.name or "balance" in p.name]
    )
    return {finding.id: finding for finding in report.findings}


def test_raw_pixels_make_no_batch_and_no_model(drawn, monkeypatch):
    found = verdict("1_raw", drawn, monkeypatch)
    assert {"sizes-differ", "size-undefined"} <= set(found)
    assert "1_raw.py" in found["size-undefined"].evidence


def test_resized_and_scaled_pictures_train_but_are_unbalanced(drawn, monkeypatch):
    assert set(verdict("2_normalized", drawn, monkeypatch)) == {"imbalance"}


def test_a_coin_in_python_is_tossed_once(drawn, monkeypatch):
    found = verdict("3_augmented", drawn, monkeypatch)
    assert set(found) == {"imbalance", "augmentation-frozen"}
    assert "The map flip (3_augmented.py, line" in found["augmentation-frozen"].evidence


def unbalance(photos, out):
    command = [sys.executable, str(ROOT / "examples/story/imbalance.py"), str(photos), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_balanced_folder_is_made_nine_to_one_by_links(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "photos" / label / f"{i:02d}.jpg").write_bytes(b"%d" % i)
    out = tmp_path / "out"
    assert unbalance(tmp_path / "photos", out) == str(out)
    assert len(list((out / "cat").iterdir())) == 20
    assert sorted(path.name for path in (out / "dog").iterdir()) == ["00.jpg", "09.jpg", "18.jpg"]
    assert (out / "dog" / "09.jpg").read_bytes() == b"9"
    assert os.path.islink(out / "dog" / "09.jpg")
    assert unbalance(tmp_path / "photos", out) == str(out)  # again, over its own links


def test_a_folder_that_is_unbalanced_is_taken_as_it_is(drawn, tmp_path):
    assert unbalance(drawn, tmp_path / "out") == str(drawn)
    assert not (tmp_path / "out").exists()
