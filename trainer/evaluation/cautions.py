"""Writes sentences that warn about scores of a split that are not reliable."""

from __future__ import annotations

from pipelines.core.text import listed
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import calibration, class_scores

NAMED = 12  # classes that a sentence names
FEW = 10  # records of a class; with fewer records its recall is very uncertain


def cautions(found: Assessment) -> list[str]:
    """Returns the warnings about the scores of a split, an empty list for none."""
    if not found.records:
        return ["There are no records."]
    return [*_about_chance(found), *_about_few(found), *_about_fitting(found), *_about_temperature(found)]


def _about_chance(found: Assessment) -> list[str]:
    majority, rate = class_scores.majority_baseline(found.matrix)
    sentences = []
    if found.intervals["accuracy"].high < rate:
        sentences.append(f"The accuracy is lower than that of always answering {found.labels[majority]!r}.")
    elif found.intervals["accuracy"].low <= rate:
        sentences.append(
            f"The accuracy does not differ clearly from that of always answering {found.labels[majority]!r}."
        )
    if found.intervals["balanced_accuracy"].low <= class_scores.chance(found.matrix):
        sentences.append("The balanced accuracy does not differ clearly from that of always answering one class.")
    return sentences


def _about_few(found: Assessment) -> list[str]:
    support = found.matrix.sum(axis=1)
    few = [f"{label} ({n})" for label, n in zip(found.labels, support.tolist(), strict=True) if 0 < n < FEW]
    absent = [label for label, n in zip(found.labels, support.tolist(), strict=True) if not n]
    sentences = []
    if few:
        named = listed(few, NAMED)
        sentences.append(f"These classes have fewer than {FEW} records, so their recall is very uncertain: {named}.")
    if absent:
        sentences.append(f"These classes have no records, so all means leave them out: {listed(absent, NAMED)}.")
    return sentences


def _about_temperature(found: Assessment) -> list[str]:
    if found.fitted.temperature < calibration.GREATEST:
        return []
    return [
        f"The temperature is at its bound: on {found.fitted.split!r} ({found.fitted.records:,} records) the "
        "probabilities of the model told nothing, so all classes get about the same one. More records or a better "
        "model mend it."
    ]


def _about_fitting(found: Assessment) -> list[str]:
    if found.split == found.fitted.split:
        return [
            "The kept epoch, the temperature and the threshold were chosen on this split: its scores are too "
            "optimistic."
        ]
    return []
