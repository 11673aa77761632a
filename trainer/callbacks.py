"""What happens at the end of an epoch: one line of progress, the best weights, the history file."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops


class BalancedAccuracy(keras.metrics.Metric):
    """Mean recall over the classes seen, unweighted: `metrics.balanced_accuracy` as a running Keras metric.

    Takes int labels (B,) and scores (B, C), logits or probabilities. Keeps a (C, C) confusion matrix in float32, which
    counts exactly up to 2**24 records a cell.
    """

    def __init__(self, classes: int, name: str = "balanced_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.matrix = self.add_variable((classes, classes), initializer="zeros", name="matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight  # a record counts once, whatever it weighs in the loss
        true = ops.one_hot(ops.reshape(y_true, (-1,)), self.classes, dtype="float32")
        given = ops.one_hot(ops.argmax(y_pred, axis=-1), self.classes, dtype="float32")
        self.matrix.assign_add(ops.matmul(ops.transpose(true), given))

    def result(self) -> Any:
        support = ops.sum(self.matrix, axis=1)
        recall = ops.diagonal(self.matrix) / ops.maximum(support, 1.0)
        return ops.sum(recall) / ops.maximum(ops.sum(ops.cast(support > 0, "float32")), 1.0)

    def reset_state(self) -> None:
        self.matrix.assign(ops.zeros((self.classes, self.classes)))


class Progress(keras.callbacks.Callback):
    """Prints a line and appends a row an epoch; keeps the network's best weights and puts them back at the end.

    Best: the highest validation balanced accuracy, of equals the lowest validation loss. Without a validation split the
    last epoch is the best. Stops the run when the loss or a weight is no longer a number, or after `patience` epochs
    without a better one.
    """

    def __init__(
        self, network: keras.Model, epochs: int, images: int, patience: int, file: Path, say: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.network, self.epochs, self.images, self.patience, self.file, self.say = (
            network, epochs, images, patience, file, say,
        )  # fmt: skip
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0  # counted from 1; 0 until an epoch was kept
        self.broken = False  # the loss or a weight is NaN or infinite
        self._best: tuple[float, float] = (-math.inf, -math.inf)
        self._weights: list[np.ndarray] = []
        self._began = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began, self._trained = time.perf_counter(), 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self._trained = time.perf_counter()  # validation begins: the images/s are those of training alone

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = {name: float(value) for name, value in sorted((logs or {}).items())}
        seconds = (self._trained or time.perf_counter()) - self._began
        row = {"epoch": epoch + 1, **values, "images_per_second": self.images / max(seconds, 1e-9)}
        self.rows.append(row)
        self._write()
        better = self._keep_if_better(epoch + 1, values)
        self.say(self._line(row, better))
        if self.broken or (self.patience and epoch + 1 - self.best_epoch >= self.patience):
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self._weights:
            self.network.set_weights(self._weights)

    def history(self) -> dict[str, list[float]]:
        """Metric name -> value of each epoch."""
        return {name: [row[name] for row in self.rows] for name in self.rows[0]} if self.rows else {}

    def _keep_if_better(self, epoch: int, values: dict[str, float]) -> bool:
        weights = self.network.get_weights()
        # The loss alone does not tell: ReLU kernels turn NaN into 0, and a network of NaN weights gives a finite loss.
        self.broken = not (math.isfinite(values["loss"]) and all(np.isfinite(w).all() for w in weights))
        if self.broken:
            return False
        rank = (values.get("val_balanced_accuracy", float(epoch)), -values.get("val_loss", 0.0))
        if not rank > self._best:
            return False
        self._best, self.best_epoch = rank, epoch
        self._weights = weights
        return True

    def _line(self, row: dict[str, float], better: bool) -> str:
        parts = [f"epoch {int(row['epoch']):>{len(str(self.epochs))}}/{self.epochs}", f"loss {row['loss']:.4f}"]
        if "val_loss" in row:
            parts.append(f"val loss {row['val_loss']:.4f}")
            parts.append(f"val balanced accuracy {row['val_balanced_accuracy']:.4f}{' *' if better else '  '}")
        return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s"])

    def _write(self) -> None:
        with self.file.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
