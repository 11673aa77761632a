"""Scores of parts of the data in a run of all folds, by networks that no test has to train."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines import contract as contracts
from tests.support.datasets import picture, write_dataset
from tests.support.folds import divide, index_of
from trainer import run_dir
from trainer.config import TrainConfig
from trainer.serving.export_check import Parity
from trainer.training import folds


def bright_top(config: TrainConfig, *_) -> None:
    """Writes the run of a fold: a network that takes images with a bright top for ok, as they are."""
    weights = np.zeros((8, 8, 3, 2), np.float32)
    weights[:4, ..., 0] = weights[4:, ..., 1] = 0.1
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False)])
    network.set_weights([weights.reshape(-1, 2)])
    run = run_dir.begin(config.output, config, contracts.load(config.data), {})
    network.save(run.model)
    run.history.write_text("epoch,val_balanced_accuracy\n1,1.0\n")
    run.metrics.write_text(json.dumps({"epochs": {"kept": 1}}))


def column(path: Path, name: str) -> dict[str, float]:
    with open(path, newline="") as file:
        return {row["key"]: float(row[name]) for row in csv.DictReader(file)}


def test_the_answers_on_all_folds_and_on_other_splits_have_parts(tmp_path, monkeypatch):
    write_dataset(tmp_path / "data", encoding="uint8", splits={"train": (9, 7), "test": (5, 3)})
    divide(tmp_path / "data", 2, 2, copies=True)
    monkeypatch.setattr(folds, "train", bright_top)
    monkeypatch.setattr(folds.export, "write", lambda *_: Parity(0.0, 0.0, 0, 0, 0.0))
    config = TrainConfig(
        str(tmp_path / "data"), str(tmp_path / "run"), folds="all", slice_by="brightness", slice_size=2, verify="off"
    )
    metrics = folds.run(config)

    originals = {f"{i:016x}-000" for i in range(16) if i % 4}
    for split, keys in (("out-of-fold", originals), ("out-of-fold-1", originals), ("test", None)):
        parts = metrics["splits"][split]["by_slice"]
        assert {row["column"] for row in parts["slices"]} == {"brightness"}, split
        assert [row["records"] for row in parts["slices"]] == [len(originals) // 4 if keys else 2] * 4
        assert {row["accuracy"] for row in parts["slices"]} == {1.0}
        table = tmp_path / "run" / f"predictions-{split}.csv"
        values = column(table, "metadata/brightness")
        assert keys is None or set(values) == keys
        with open(table, newline="") as file:
            labels = {row["key"]: ("ok", "broken").index(row["label"]) for row in csv.DictReader(file)}
        expected = {key: picture(index_of(key), labels[key]).mean() for key in values}
        assert values == pytest.approx(expected, abs=1e-3)
    assert "brightness" in (tmp_path / "run" / "evaluation.html").read_text()
    assert "brightness" in (tmp_path / "run" / "model_card.md").read_text()
