"""Reports each epoch: progress line, best weights, history file, TensorBoard logs."""

from __future__ import annotations

import csv
import io
import logging
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.core.files import atomic
from trainer import run_dir
from trainer.tasks.classes import Classes
from trainer.tasks.task import Kept

_log = logging.getLogger(__name__)


class Progress:
    """Logs a line and appends a row after each epoch; keeps the best weights.

    The best epoch has the best validation score, such as the highest balanced accuracy, and among equal ones the lowest
    validation loss. With `over` above 1 both are means of the last epochs: on few validation images the score of one
    epoch is partly luck. Without a validation split the last epoch is the best. `exhausted` is true after `patience`
    epochs without a better one.
    """

    def __init__(
        self,
        network: keras.Model,
        epochs: int,
        batch_size: int,
        records: int,
        patience: int,
        run: run_dir.Run | None,
        kept: Kept = Classes.kept,
    ) -> None:
        """Starts with an empty history.

        Args:
          network: the model whose best weights are kept.
          epochs: number of epochs, for the progress line.
          batch_size: images a step.
          records: number of records of the train split; an epoch never reads more.
          patience: number of epochs without a better one after which training ends; 0 for no limit.
          run: the run directory; None to write nothing.
          kept: the score by which the best epoch is chosen.
        """
        self.kept = kept
        self.network, self.epochs, self.batch_size, self.records, self.patience = (
            network, epochs, batch_size, records, patience,
        )  # fmt: skip
        self.run = run
        self.rows: list[dict[str, float]] = []  # the first one is of epoch 0 if the head was fitted before the epochs
        self.over = 1  # epochs whose mean scores are compared
        self.best_epoch = 0  # counted from 1; 0 is the fitted head, or that no epoch has ended
        self.weights: list[np.ndarray] = []  # of the best epoch
        self._best: tuple[float, float] = (-math.inf, -math.inf)
        self._logs: dict[str, Any] = {}
        self._began, self._first, self._rate = 0.0, 0, 0.0
        self.epoch_ended: Callable[[dict[str, float]], None] = lambda _: None  # gets the row of each epoch

    def begin(self, step: int) -> None:
        """Starts the clock of an epoch that begins, or is resumed, at this step."""
        self._began, self._first = time.perf_counter(), step

    def trained(self, steps: int) -> None:
        """Computes the images/s of the epoch after its last step.

        The rate is that of training alone, without validation.
        """
        first, last = (min(self.records, n * self.batch_size) for n in (self._first, steps))
        self._rate = (last - first) / max(time.perf_counter() - self._began, 1e-9)

    def end(self, epoch: int, values: dict[str, float]) -> None:
        """Adds the metrics of epoch `epoch`, counted from 1, to the history.

        Epoch 0 is the state before the first epoch.
        """
        row = {"epoch": epoch, "images_per_second": self._rate} | dict(sorted(values.items()))
        self.rows.append(row)
        better = self._keep_if_better(epoch, values)
        self._write()
        self._log(row)
        _log.info("%s", self._line(row, better))
        self.epoch_ended(row)

    def exhausted(self) -> bool:
        """Tells whether the last `patience` epochs were not better than the best one."""
        return bool(self.patience) and self.trained_epochs() - self.best_epoch >= self.patience

    def trained_epochs(self) -> int:
        """Returns the number of epochs that have ended."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    def put_back(self) -> None:
        """Gives the network its best weights."""
        if self.weights:
            self.network.set_weights(self.weights)

    def state(self) -> dict[str, Any]:
        """Returns the JSON state for a checkpoint, which stores `weights` separately."""
        return {"rows": self.rows, "best_epoch": self.best_epoch, "best": list(self._best)}

    def restore(self, state: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Restores the result of `state` and the best weights; writes the files anew."""
        self.rows, self.best_epoch, self.weights = state["rows"], state["best_epoch"], weights
        self._best = (state["best"][0], state["best"][1])
        self._write()
        for row in self.rows:
            self._log(row)

    def history(self) -> dict[str, list[float]]:
        """Returns the values of each metric by its name, one value an epoch."""
        return {name: [row[name] for row in self.rows] for name in self.rows[0]} if self.rows else {}

    def _keep_if_better(self, epoch: int, values: dict[str, float]) -> bool:
        score, last = f"val_{self.kept.name}", self.rows[-self.over :]
        rank = (float(epoch), 0.0)
        if score in values:
            ranks = [(self.kept.rank(row[score]), -row.get("val_loss", 0.0)) for row in last]
            rank = (statistics.fmean(r for r, _ in ranks), statistics.fmean(r for _, r in ranks))
        if not rank > self._best:
            return False
        self._best, self.best_epoch = rank, epoch
        self.weights = self.network.get_weights()
        return True

    def _line(self, row: dict[str, float], better: bool) -> str:
        parts = [f"epoch {int(row['epoch']):>{len(str(self.epochs))}}/{self.epochs}", f"loss {row['loss']:.4f}"]
        if "val_loss" in row:
            parts.append(f"val loss {row['val_loss']:.4f}")
            value = row[f"val_{self.kept.name}"]
            parts.append(f"val {self.kept.words} {value:.4f}{' *' if better else '  '}")
        return "  ".join([*parts, f"{row['images_per_second']:.0f} images/s"])

    def _write(self) -> None:
        if not self.rows or self.run is None:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]))
        writer.writeheader()
        writer.writerows(self.rows)
        with run_dir.writing(self.run.history):
            atomic.write_text(self.run.history, text.getvalue())

    def _log(self, row: dict[str, float]) -> None:
        """Writes a row to TensorBoard's logs under the names that Keras uses."""
        if self.run is None or not row["epoch"]:
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
