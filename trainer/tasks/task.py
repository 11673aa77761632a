"""Defines the interface of a kind of task, and that of a result of one.

docs/tasks.md describes the kinds, and CONTRIBUTING.md how one is added.
"""

from __future__ import annotations

import abc
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.config import DEFAULT_VERIFY, VALIDATION_SPLIT, TrainConfig, TrainerError
from trainer.data.shards import integrity
from trainer.evaluation.evaluate import EVALUATION_BATCH, Trained
from trainer.evaluation.slices import Metadata
from trainer.tasks.head_problems import Head
from trainer.tasks.shown_result import Example, Report


class Kept(NamedTuple):
    """Describes the score by which an epoch is kept.

    name: its column in metrics.csv; that of the validation split begins with "val_". greater: whether a greater value
    is better.
    """

    name: str
    greater: bool = True

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")

    @property
    def best(self) -> str:
        return f"the {'best' if self.greater else 'least'} {self.words}"

    def rank(self, value: float) -> float:
        """Returns a number that is greater for a better value."""
        return value if self.greater else -value


class Fitted(Protocol):
    """Holds what was fitted after the training, such as thresholds.

    split: the split it was fitted on, "" for none.
    """

    @property
    def split(self) -> str: ...

    def to_json(self) -> str:
        """Returns the text of calibration.json."""


class EpochMetric(Protocol):
    """Adds up the score of an epoch on the device, equally on all replicas."""

    variables: list[Any]

    def counts(self, labels: Any, scores: Any) -> Any:
        """Returns sums over the records of a batch that `add` takes."""

    def add(self, counts: Any) -> None: ...

    def result(self) -> Any: ...

    def reset_state(self) -> None: ...


class Result(abc.ABC):
    """Holds the answers on a split and derives all scores.

    Classes have `Assessment` instead.
    """

    split: str
    predictions: Any  # of the kind of task; it has `names` and `keys`
    scores: Any  # of all labels or numbers together, by name
    metadata: Metadata  # the columns that travel along

    @property
    def records(self) -> int:
        """Returns the number of records."""
        return len(self.keys)

    @property
    def keys(self) -> tuple[str, ...]:
        """Returns the keys of the records."""
        return tuple(self.predictions.keys)

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the labels or numbers."""
        return tuple(self.predictions.names)

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns the content of metrics.json: plain numbers, None for undefined ones."""

    @abc.abstractmethod
    def report(self) -> Report:
        """Returns what the terminal, the page and the pictures show."""

    @abc.abstractmethod
    def cautions(self) -> list[str]:
        """Returns warnings about the scores, an empty list for none."""

    @abc.abstractmethod
    def scalars(self) -> dict[str, float]:
        """Returns the scores for TensorBoard, by name."""

    @abc.abstractmethod
    def cells(self) -> tuple[list[str], Iterator[list[str | int]]]:
        """Returns what stands between key and metadata in predictions-SPLIT.csv.

        It is the names of the columns, and the cells of each record.
        """

    def to_csv(self) -> str:
        """Returns the text of predictions-SPLIT.csv."""
        names, rows = self.cells()
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["key", *names, *self.metadata.features])
        for key, cells, others in zip(self.keys, rows, self.metadata.rows(self.records), strict=True):
            writer.writerow([key, *cells, *others])
        return text.getvalue()

    @abc.abstractmethod
    def worst(self, most: int) -> list[Example]:
        """Returns at most `most` records with the worst answers, the worst first."""


class FittedRows(NamedTuple):
    """Holds the numbers of a calibration.json.

    values: for each field the numbers of all names. split, records: what they were fitted on. unfitted: the names of
    which nothing could be fitted there.
    """

    values: tuple[tuple[float, ...], ...]
    split: str
    records: int
    unfitted: tuple[str, ...] = ()


def fitted_rows(path: Path, section: str, names: Sequence[str], fields: Sequence[str], positive: str) -> FittedRows:
    """Reads the numbers of each label or target from the calibration.json of a run.

    Args:
      section: the part of the file that has them by name.
      fields: the names of the numbers.
      positive: the field whose numbers have to be above 0.

    Raises:
      TrainerError: the file is not what a training writes.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = [data[section][name] for name in names]
        values = tuple(tuple(float(row[field]) for row in rows) for field in fields)
        if not np.isfinite(values).all() or min(values[fields.index(positive)]) <= 0:
            raise ValueError("a number that no fit gives")
        unfitted = tuple(str(name) for name in data.get("unfitted", ()))  # earlier versions did not say it
        return FittedRows(values, str(data["split"]), int(data["records"]), unfitted)
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise TrainerError(
            f"{str(path)!r} should be as training wrote it ({type(e).__name__}: {e}): train again."
        ) from e


class Answered(NamedTuple):
    """Holds the answers to N records as a person reads and corrects them.

    keys: of the records. texts: the answers, as ledgers have them. confidences: how sure each is, float64 (N,), from 0
    to 1; NaN if the kind has none. names, values: a number for each class, label or target, float64 (N, K). before:
    what the columns of these are called, before their name. least: the confidence below which the model abstains, None
    if it always answers.
    """

    keys: tuple[str, ...]
    texts: tuple[str, ...]
    confidences: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    before: str
    least: float | None = None


class Compared(NamedTuple):
    """Holds the answers of a run, as read from predictions-SPLIT.csv.

    keys: of N records. names: of the labels or numbers. truth, answers: one row a record.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    truth: np.ndarray
    answers: np.ndarray


class Comparable(Protocol):
    """Scores what `Result.to_csv` wrote, so that runs are compared.

    Classes have `evaluation.compare` instead.

    column: what the names of the columns with the truth begin with.
    """

    kind: str
    column: str

    def compared(self, columns: Mapping[str, Sequence[str]]) -> Compared:
        """Returns the answers in the columns of a predictions-SPLIT.csv.

        Raises:
          KeyError, ValueError: a column is missing, or a cell is not a number.
        """

    def scores(self, found: Compared, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the scores by name, float64 (R,); the first one decides.

        Args:
          draws: float (R, N), how often each record counts.
        """

    def is_greater_better(self, score: str) -> bool:
        """Tells whether a greater value of this score is better."""


class Spoken(Protocol):
    """Says the answer for one image, for `predict`.

    Classes are said by `predict` itself, which then need not wait for what trains and judges.
    """

    output: str

    def in_words(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> str:
        """Returns the answer as text, its parts separated by tabs.

        Args:
          names: of the answers. values: float (K,). about: the metadata of the export.
        """

    def in_json(self, names: Sequence[str], values: np.ndarray, about: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the answer as values for JSON."""


class Task(abc.ABC):
    """Says what the programs have to know of one kind of task.

    kind: its name in the contract. losses: the names of --loss that it has; the first one is that of "auto".
    activation: that of a network which ends in one, "" for none. output: the name of what an export answers.
    unit: what the answers are measured in, in a sentence about differences of them.
    """

    kind: str
    losses: tuple[str, ...]
    kept: Kept
    activation: str
    output: str
    unit: str

    def loss_name(self, config: TrainConfig) -> str:
        """Returns the name of the loss that --loss means."""
        return self.losses[0] if config.loss == "auto" else config.loss

    def check_loss(self, config: TrainConfig, contract: Contract) -> None:
        """Raises TrainerError if --loss names a loss of another kind."""
        if self.loss_name(config) not in self.losses:
            raise TrainerError(
                f"--loss {config.loss} does not fit the task of dataset {contract.name!r} ({self.kind}): choose auto, "
                f"which is {self.losses[0]}, or one of {', '.join(self.losses[1:])}."
            )

    @abc.abstractmethod
    def described(self, contract: Contract) -> str:
        """Returns what the answers are, such as "3 classes"."""

    @abc.abstractmethod
    def check(self, config: TrainConfig, contract: Contract) -> list[str]:
        """Returns warnings about options and dataset.

        Raises:
          TrainerError: an option makes no sense for this kind, or contradicts another one.
        """

    @abc.abstractmethod
    def few_images(self, contract: Contract) -> tuple[float, str]:
        """Returns the number of train images that a network learns an answer from.

        The text says of what it is the number.
        """

    @abc.abstractmethod
    def loss(self, config: TrainConfig, contract: Contract, from_logits: bool) -> keras.losses.Loss:
        """Returns the loss, which takes what `targets` returns."""

    @abc.abstractmethod
    def targets(self, contract: Contract, labels: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Returns the targets of a batch, float32 (B, T).

        They are linear in the weights of the records. Mixing of images blends them.
        """

    @abc.abstractmethod
    def metric(self, contract: Contract, from_logits: bool) -> EpochMetric:
        """Returns the score `kept` as a running metric.

        Args:
          from_logits: False if the scores are those behind the activation.
        """

    @abc.abstractmethod
    def head(self, config: TrainConfig, contract: Contract) -> Head:
        """Returns the problem that --fit-head solves."""

    @abc.abstractmethod
    def random_labels(self, contract: Contract, random: np.random.Generator, size: int) -> np.ndarray:
        """Returns labels of `size` records as the loader gives them, for measurements."""

    @abc.abstractmethod
    def predictor(self, network: keras.Model, data: str | os.PathLike[str], batch_size: int) -> Callable[[str], Any]:
        """Returns what gives the answers on every record of a split.

        Nothing is fitted to them yet. For several splits of a dataset, the network is traced once.
        """

    def predict(self, network: keras.Model, data: str | os.PathLike[str], split: str, batch_size: int) -> Any:
        """Returns the answers on every record of a split, before anything is fitted."""
        return self.predictor(network, data, batch_size)(split)

    @abc.abstractmethod
    def fit(self, found: Any, split: str, contract: Contract) -> Any:
        """Fits what belongs to the answers on a split, the result of `predict`."""

    def check_abstention(self) -> None:
        """Raises TrainerError if answers of this kind have no largest probability."""
        raise TrainerError(
            f"--abstain-error is for classes: it compares the largest probability. Answers of this dataset are "
            f"{self.kind}. Leave the option out."
        )

    def abstaining(self, fitted: Any, found: Any, wanted: float, split: str) -> tuple[Any, str]:
        """Returns what was fitted with a threshold of abstaining, and a sentence.

        Args:
          found: the result of `predict` on the split. wanted: the error among the answered.
        """
        self.check_abstention()
        return fitted, ""

    def with_abstention(
        self, network: keras.Model, data: str | os.PathLike[str], fitted: Any, wanted: float
    ) -> tuple[Any, str]:
        """Chooses the threshold of abstaining on the validation split of a dataset.

        Args and result are as of `abstaining`.

        Raises:
          TrainerError: answers of this kind have no largest probability, or there is no validation split.
        """
        self.check_abstention()
        contract = contracts.load(data)
        if VALIDATION_SPLIT not in contract.splits or not contract.split(VALIDATION_SPLIT).records:
            way = (
                "train --folds all --abstain-error chooses it on the records that each network has not seen."
                if contract.folds
                else "prepare --validation-from train=0.1 cuts it out of train."
            )
            raise TrainerError(
                f"--abstain-error chooses the threshold on the split {VALIDATION_SPLIT!r}. {os.fspath(data)!r} has no "
                f"records of it: {way}"
            )
        integrity.check(contract, os.fspath(data), [VALIDATION_SPLIT], DEFAULT_VERIFY)
        found = self.predict(network, data, VALIDATION_SPLIT, EVALUATION_BATCH)
        return self.abstaining(fitted, found, wanted, VALIDATION_SPLIT)

    @abc.abstractmethod
    def unfitted(self, contract: Contract) -> Any:
        """Returns what stands in for the result of `fit` without a validation split."""

    def of_run(self, fitted: Any, config: TrainConfig) -> Any:
        """Returns the result of `fit` with what the options of the run say of it."""
        del config
        return fitted

    @abc.abstractmethod
    def read_fitted(self, directory: str | os.PathLike[str], contract: Contract) -> Any:
        """Reads what a run fitted from its calibration.json.

        Args:
          contract: of the run.
        """

    @abc.abstractmethod
    def assess(self, split: str, found: Any, fitted: Any) -> Any:
        """Returns the result on a split: an `Assessment` of classes, or a `Result`."""

    @abc.abstractmethod
    def answered(self, found: Any, fitted: Any) -> Answered:
        """Returns the answers as texts, from the result of `predict`."""

    def scored(self, model: Trained, data: str, split: str, batch_size: int) -> Any:
        """Returns the result of a finished run on a split."""
        fitted = self.read_fitted(model.directory, model.contract)
        return self.assess(split, self.predict(model.network, data, split, batch_size), fitted)

    @abc.abstractmethod
    def answers(self, network: keras.Model, contract: Contract, fitted: Any) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns the network as a function to what an export answers.

        normalized images, float32 (B, H, W, 3) -> float32 (B, K).
        """

    @abc.abstractmethod
    def served(self, answers: tf.Tensor, names: tf.Tensor, fitted: Any) -> dict[str, tf.Tensor]:
        """Returns all outputs of a SavedModel, that called `output` among them.

        Args:
          answers: of the function of `answers`. names: string (K,), of the answers.
        """

    @abc.abstractmethod
    def about(self, contract: Contract, fitted: Any) -> dict[str, Any]:
        """Returns what the metadata of an export say of the kind, as values for JSON."""

    @abc.abstractmethod
    def scale(self, fitted: Any) -> np.ndarray:
        """Returns what differences of answers are measured in, float64 (K,) or (1,)."""
