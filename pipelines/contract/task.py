"""States what a model of a dataset answers: a class, labels, or numbers.

`prepare` decides it once, and it stands in contract.json; every program reads it there. The kinds are

    classes      each image has one class. A record has its id in the feature `label`, and contract.json has no task
    multi-label  each image has any number of labels, or none. A record has `target`: 1.0 for each label that it has,
                 in the order of `Contract.labels`, and 0.0 for the others
    regression   each image has one or more numbers. A record has them in `target`, as the input states them
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.contract.json_fields import FieldError, Fields

CLASSES, MULTI_LABEL, REGRESSION = "classes", "multi-label", "regression"
KINDS = (CLASSES, MULTI_LABEL, REGRESSION)
# The columns that only the analysis of a regression reads beside those of `tensors.ANALYSIS_COLUMNS`, and their types.
# Each has one number a target.
TARGET_COLUMNS = {
    "target_least": "float32", "target_greatest": "float32", "target_bits": "int64", "target_count": "int64",
    "target_sum": "int64", "target_square_high": "int64", "target_square_low": "int64",
}  # fmt: skip
_STATISTICS = ("mean", "std", "median", "least", "greatest")
NO_LABEL = "|"  # the text of an answer without a label; of others, | stands between the labels
NO_LABEL_ID = -1  # the label of a record of the images without a label
COUNTS = ("natural", "stored", "copies")  # as of `Split`, but of all images and records


@dataclasses.dataclass(frozen=True)
class Task:
    """States the kind of a task, and what a reader has to know of its targets.

    Attributes:
      kind: One of KINDS.
      targets: Of a regression: the names of the numbers, in the order of the record. Else ().
      mean, std: Of a regression: statistics of the original images of train, one number a target. `std` comes from the
        biased variance; a target that is constant has 1. Else ().
      median, least, greatest: The same.
      images: For each split the number of images ("natural"), of records ("stored") and of the copies among them
        ("copies"). It is empty for classes: there the counts by label add up.
    """

    kind: str = CLASSES
    targets: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    median: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    greatest: tuple[float, ...] = ()
    images: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    def noted(self) -> dict[str, Any]:
        """Returns what contract.json says of it; nothing for classes."""
        return {} if self.kind == CLASSES else {name: value for name, value in vars(self).items() if value}


ONE_CLASS = Task()


def labels_text(labels: Iterable[str]) -> str:
    """Returns the text of a set of labels, as ledgers have it.

    >>> labels_text(["dog", "cat"]), labels_text([])
    ('cat|dog', '|')
    """
    escaped = (label.replace("\\", "\\\\").replace("|", "\\|") for label in sorted(set(labels)))
    return "|".join(escaped) or NO_LABEL


def shown(kind: str, answer: str) -> str:
    """Returns the answer of an image, as ledgers have it, for people to read.

    >>> shown("multi-label", "cat|dog"), shown("multi-label", "|"), shown("classes", "|")
    ('cat|dog', 'no label', '|')
    """
    return "no label" if kind == MULTI_LABEL and answer == NO_LABEL else answer


def from_fields(fields: Fields) -> Task:
    """Reads the task of a contract.json.

    Raises:
      FieldError: A field is missing or has the wrong form, or its numbers contradict each other.
    """
    kind = fields.one_of("kind", KINDS[1:])
    images = {split: part.counts_of(COUNTS) for split, part in fields.parts("images").items()}
    for split, counts in images.items():
        if counts["copies"] > counts["stored"]:
            raise FieldError(f"task.images.{split}.copies should be part of stored. Received: {counts}")
    if kind != REGRESSION:
        return Task(kind, images=images)
    targets = fields.texts("targets")
    found = {name: fields.numbers(name, len(targets)) for name in _STATISTICS}
    if min(found["std"]) <= 0:
        raise FieldError(f"task.std should be above 0. Received: {found['std']}")
    if any(low > high for low, high in zip(found["least"], found["greatest"], strict=True)):
        raise FieldError("task.least should be at most task.greatest")
    return Task(kind, targets, images=images, **found)
