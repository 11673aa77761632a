"""What happens at the end of an epoch: one line of progress, the best weights, the history file, TensorBoard's logs."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.core import atomic
from trainer import run_dir


class Progress:
    """Prints a line and appends a row an epoch; keeps the network's best weights.

    Best: the highest validation balanced accuracy, of equals the lowest validation loss. Without a validation split the
    last epoch is the best. `exhausted` after `patience` epochs without a better one.
    """

    def __init__(
        self,
        network: keras.Model,
        epochs: int,
        batch_size: int,
        records: int,
        patience: int,
        run: run_dir.Run | None,
        say: Callable[[str], None],
    ) -> None:
        """records: of the train split, which an epoch does not go beyond. run: None to write nothing."""
        self.network, self.epochs, self.batch_size, self.records, self.patience = (
            network, epochs, batch_size, records, patience,
        )  # fmt: skip
        self.run, self.say = run, say
        self.rows: list[dict[str, float]] = []
        self.best_epoch = 0  # counted from 1; 0 until an epoch was kept
        self.weights: list[np.ndarray] = []  # of the best epoch
        self._best: tuple[float, float] = (-math.inf, -math.inf)
        self._logs: dict[str, Any] = {}
        self._began, self._first, self._rate = 0.0, 0, 0.0

    def begin(self, step: int) -> None:
        """An epoch begins, or goes on, at this step."""
        self._began, self._first = time.perf_counter(), step

    def trained(self, steps: int) -> None:
        """Its steps are done: the images/s are those of training alone, without validation."""
        first, last = (min(self.records, n * self.batch_size) for n in (self._first, steps))
        self._rate = (last - first) / max(time.perf_counter() - self._began, 1e-9)

    def end(self, epoch: int, values: dict[str, float]) -> None:
        """Epoch `epoch`, counted from 1, has these metrics."""
        row = {"epoch": epoch, **dict(sorted(values.items())), "images_per_second": self._rate}
        self.rows.append(row)
        better = self._keep_if_better(epoch, values)
        self._write()
        self._log(row)
        self.say(self._line(row, better))

    def exhausted(self) -> bool:
        """Whether `patience` epochs brought nothing better."""
        return bool(self.patience) and len(self.rows) - self.best_epoch >= self.patience

    def put_back(self) -> None:
        """Gives the network its best weights."""
        if self.weights:
            self.network.set_weights(self.weights)

    def state(self) -> dict[str, Any]:
        """For a checkpoint, as JSON has it; `weights` go beside it."""
        return {"rows": self.rows, "best_epoch": self.best_epoch, "best": list(self._best)}

    def restore(self, state: dict[str, Any], weights: list[np.ndarray]) -> None:
        """What `state` gave, and the best weights; the files are written anew."""
        self.rows, self.best_epoch, self.weights = state["rows"], state["best_epoch"], weights
        self._best = (state["best"][0], state["best"][1])
        self._write()
        for row in self.rows:
            self._log(row)

    def history(self) -> dict[str, list[float]]:
        """Metric name -> value of each epoch."""
        return {name: [row[name] for row in self.rows] for name in self.rows[0]} if self.rows else {}

    def _keep_if_better(self, epoch: int, values: dict[str, float]) -> bool:
        rank = (values.get("val_balanced_accuracy", float(epoch)), -values.get("val_loss", 0.0))
        if not rank > self._best:
            return False
        self._best, self.best_epoch = rank, epoch
        self.weights = self.network.get_weights()
        return True

    def _line(self, row: dict[str, float], better: bool) -> str:
        parts = [f"epoch {int(row['epoch']):>{len(str(self.epochs))}}/{self.epochs}", f"loss {row['loss']:.4f}"]
        if "val_loss" in row:
            parts.append(f"val loss {row['val_loss']:.4f}")
            parts.append(f"val balanced accuracy {row['val_balanced_accuracy']:.4f}{' *' if better else '  '}")
        return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s"])

    def _write(self) -> None:
        if not self.rows or self.run is None:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]))
        writer.writeheader()
        writer.writerows(self.rows)
        atomic.write_text(self.run.history, text.getvalue())

    def _log(self, row: dict[str, float]) -> None:
        """Under the names that Keras gives them."""
        if self.run is None:
            return
        with run_dir.writing(self.run.logs):
            for name, value in row.items():
                if name in ("epoch", "images_per_second"):
                    continue
                folder = "validation" if name.startswith("val_") else "train"
                if folder not in self._logs:
                    self._logs[folder] = tf.summary.create_file_writer(str(self.run.logs / folder))
                with self._logs[folder].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=int(row["epoch"]) - 1)
            for writer in self._logs.values():
                writer.flush()
