"""Says which limits of a model its data and its scores show, for the model card."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.contract import Contract
from pipelines.contract.task import CLASSES, REGRESSION
from pipelines.core.text import listed, plural, short
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.scores import class_scores, intervals
from trainer.evaluation.slices import Slices
from trainer.tasks.shown_result import number, reach
from trainer.tasks.task import Result

TRAIN = "train"
NAMED = 5  # classes, labels or slices that a sentence names
FEW = 100  # train images of a class; below it a sentence says so


def sentences(
    contract: Contract, about: Mapping[str, Any], results: Sequence[Assessment | Result], abstains: bool = False
) -> list[str]:
    """Returns the limits that data and scores show, one sentence or two each.

    Args:
      contract: of the dataset that the model was trained on.
      about: the content of the run's metrics.json.
      results: the evaluated splits.
      abstains: whether the served model does where it is not sure.
    """
    told = [*_of_answers(contract, abstains), *_of_data(contract)]
    for place, found in enumerate(results):
        told += [f"On {found.split}: {sentence}" for sentence in _of_scores(found, first=not place)]
    told += _of_training(contract, about)
    return told


def _of_answers(contract: Contract, abstains: bool) -> Iterator[str]:
    many = plural(len(contract.labels), "class", "classes")
    if abstains:
        yield (
            f"The model knows {many}. It abstains where it is not sure, which was measured on images of these classes; "
            "it may still answer one of them for an image of something else."
        )
    elif contract.task.kind == CLASSES:
        yield f"The model knows {many} and answers one of them for every image, also for an image of something else."
    elif contract.task.kind == REGRESSION:
        ranges = [
            f"{name} from {short(low)} to {short(high)}"
            for name, low, high in zip(contract.task.targets, contract.task.least, contract.task.greatest, strict=True)
        ]
        yield f"The train images have {listed(ranges, NAMED)}. Outside of that nothing was learned."
    else:
        yield f"The model knows {plural(len(contract.labels), 'label')}. It says nothing of others."


def _of_data(contract: Contract) -> Iterator[str]:
    train = contract.splits.get(TRAIN)
    if train is None:
        return
    counts = sorted(((train.natural.get(label, 0), label) for label in contract.labels), key=lambda row: row[0])
    few = [f"{label} ({count:,})" for count, label in counts if count < FEW]
    if few:
        yield f"Fewer than {FEW} train images have: {listed(few, NAMED)}."
    if len(counts) > 1 and counts[0][0] and counts[-1][0] >= 2 * counts[0][0]:
        (least, rare), (most, common) = counts[0], counts[-1]
        yield f"{common} has {most / least:.1f} times as many train images as {rare}: {most:,} and {least:,}."
    copies, stored = sum(train.copies.values()), sum(train.stored.values())
    mode = contract.balance.get("mode", "none")
    if contract.task.kind != REGRESSION and (mode != "none" or copies):
        yield (
            f"The train records were balanced ({mode}; {copies:,} of {stored:,} are copies). Probabilities of what "
            "is rare in practice are therefore too high for images as they come."
        )
    rejected = {reason: count for reason, count in contract.rejected.items() if count}
    if rejected:
        reasons = listed([f"{reason} ({count:,})" for reason, count in sorted(rejected.items())], NAMED)
        yield (
            f"prepare rejected {plural(sum(rejected.values()), 'input')}: {reasons}. The model has neither learned "
            "from images like these nor is it scored on them."
        )
    left_out = sorted(label for label, name in contract.classes.get("labels", {}).items() if not name)
    if left_out:
        yield f"These labels of the source are left out: {listed(left_out, NAMED)}."


def _of_scores(found: Assessment | Result, first: bool) -> Iterator[str]:
    """Yields what the scores of a split show.

    The weakest class is named for the first split only, which is test if there is one.
    """
    yield from found.cautions() if isinstance(found, Result) else cautions(found)
    if first and isinstance(found, Assessment) and found.records:
        yield from _weakest(found)
    parts: Slices | None = getattr(found, "slices", None)
    worse = [row for row in parts.rows if row.worse] if parts else []
    if worse:
        named = []
        for row in worse:
            name, found_score = next(iter(row.scores.items()))
            named.append(
                f"{row.column} = {row.value} ({name.replace('_', ' ')} {number(found_score.value)}, 95 % "
                f"{reach(found_score.interval)}, {plural(row.records, 'record')})"
            )
        yield f"These parts of the data are clearly worse than all of it: {listed(named, NAMED, '; ')}."


def _weakest(found: Assessment) -> Iterator[str]:
    recall, support = class_scores.recall(found.matrix), found.matrix.sum(axis=1)
    known = [c for c in range(len(found.labels)) if not math.isnan(recall[c])]
    weakest = min(known, key=lambda c: float(recall[c]))
    own = found.matrix[weakest]
    ends = intervals.wilson(int(own[weakest]), int(support[weakest]))
    told = (
        f"The class that is recognized worst is {found.labels[weakest]}, with a recall of "
        f"{number(float(recall[weakest]))} (95 % {reach(ends)}) on {plural(int(support[weakest]), 'record')}"
    )
    others = own.copy()
    others[weakest] = 0
    if others.any():
        told += f"; the commonest wrong answer to it is {found.labels[int(others.argmax())]} ({int(others.max()):,})"
    yield f"{told}."


def _of_training(contract: Contract, about: Mapping[str, Any]) -> Iterator[str]:
    if len(contract.splits) < 3 and "folds" not in about:
        yield f"The dataset has only the splits {', '.join(contract.splits)}."
    if "folds" not in about:
        yield (
            "The scores are of one training with one seed. Another seed gives somewhat other scores; the intervals "
            "hold only the chance of which records were drawn."
        )
    yield (
        "The scores are of images from the collection that train comes from. Another camera, place, time or way of "
        "choosing images was not measured."
    )
