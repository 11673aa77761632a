"""Writes sentences that warn about scores of a split that are not reliable."""

from __future__ import annotations

from pipelines.core.text import listed
from trainer.evaluation import metrics
from trainer.evaluation.assessment import Assessment

NAMED = 12  # classes that a sentence names
FEW = 10  # records of a class; with fewer records its recall is very uncertain


def cautions(found: Assessment) -> list[str]:
    """Returns the warnings about the scores of a split, an empty list for none."""
    if not found.records:
        return ["There are no records."]
    return [*_about_chance(found), *_about_few(found), *_about_fitting(found)]


def _about_chance(found: Assessment) -> list[str]:
    majority, rate = metrics.majority_baseline(found.matrix)
    sentences = []
    if found.intervals["accuracy"].high < rate:
        sentences.append(f"By its accuracy the model is worse than always answering {found.labels[majority]!r}.")
    elif found.intervals["accuracy"].low <= rate:
        sentences.append(f"By its accuracy the model cannot be told from always answering {found.labels[majority]!r}.")
    if found.intervals["balanced_accuracy"].low <= metrics.chance(found.matrix):
        sentences.append("By its balanced accuracy the model cannot be told from always answering one class.")
    return sentences


def _about_few(found: Assessment) -> list[str]:
    support = found.matrix.sum(axis=1)
    few = [f"{label} ({n})" for label, n in zip(found.labels, support.tolist(), strict=True) if 0 < n < FEW]
    absent = [label for label, n in zip(found.labels, support.tolist(), strict=True) if not n]
    sentences = [f"Fewer than {FEW} records, so that recall is hardly known: {listed(few, NAMED)}."] if few else []
    return sentences + ([f"No records, so that all means leave it out: {listed(absent, NAMED)}."] if absent else [])


def _about_fitting(found: Assessment) -> list[str]:
    if found.split == found.fitted.split:
        return ["The kept epoch, the temperature and the threshold were chosen on this split: it flatters the model."]
    return []
