"""Answers the records of a split as a table that people correct.

`prepare --corrections` of the next version takes the table back. The network answers the records themselves, so no
image is read and decoded again.
"""

from __future__ import annotations

import csv
import io
import math
import os

from pipelines import contract as contracts
from trainer import run_dir
from trainer.config import DEFAULT_VERIFY, TRAIN_SPLIT, TTA_NONE
from trainer.data import origins
from trainer.data.shards import integrity
from trainer.models import alignment, build, several_views
from trainer.serving.predict_config import ABSTAINED
from trainer.tasks import kinds
from trainer.tasks.task import Answered

BATCH = 64
MOST_NAMES = 100  # classes; each has a column


def answer(model_directory: str, data: str, split: str, views: str = TTA_NONE) -> Answered:
    """Returns the answers of a finished run to every record of a split.

    Args:
      views: of each image whose answers are averaged, one of `config.TTA`.

    Raises:
      TrainerError: there is no model, its contract and the dataset's disagree, or it does not take the views.
      ContractError: the dataset is missing or unusable, or has no such split.
    """
    run = run_dir.finished(model_directory)
    trained, contract = contracts.load(run.directory), contracts.load(data)
    contract.split(split)
    alignment.check_contracts(trained, contract)
    integrity.check(contract, os.fspath(data), [split], DEFAULT_VERIFY)
    network = build.load(run.model)
    alignment.check_model(network, contract)
    task = kinds.of(contract)
    network = several_views.averaged(network, views, task.activation)
    return task.answered(task.predict(network, data, split, BATCH), task.read_fitted(run.directory, trained))


def to_csv(found: Answered, data: str, split: str) -> str:
    """Renders answers as CSV, the least sure first: they are worth a look most.

    The columns are the path, the label to correct, the answer, its confidence, the key of the record, and a number for
    each class or label. The answer is ABSTAINED where the model abstains. Images without a label also have a split,
    which is train: a model's own answers should not judge it.
    """
    paths = origins.paths(data, split)
    is_unlabelled = split not in contracts.load(data).splits
    names = found.names if len(found.names) <= MOST_NAMES else ()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "label", *(["split"] if is_unlabelled else []), "answer", "confidence", "key",
                     *(f"{found.before}{name}" for name in names)])  # fmt: skip
    rows = zip(found.keys, found.texts, found.confidences.tolist(), found.values.tolist(), strict=True)
    for key, said, confidence, values in sorted(rows, key=lambda row: (row[2], paths.get(row[0], ""))):
        sure = "" if math.isnan(confidence) else format(confidence, ".6g")
        stated = [TRAIN_SPLIT] if is_unlabelled else []
        numbers = [format(value, ".6g") for value in values] if names else []
        answer = ABSTAINED if found.least is not None and confidence < found.least else said
        writer.writerow([paths.get(key, ""), said, *stated, answer, sure, key, *numbers])
    return text.getvalue()
