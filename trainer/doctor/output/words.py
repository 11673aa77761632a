"""Calls the examples of a program rows where they are no images.

The checks are written for images, and most of them examine rows of numbers and texts as well.
"""

from __future__ import annotations

import dataclasses
import re

from trainer.doctor.finding import Finding
from trainer.doctor.output.text import Report
from trainer.doctor.subject.sample import is_picture
from trainer.doctor.subject.subject import Subject

# Not in code: beside a quote, a dot, a sign or a bracket.
_WORD = re.compile(r"""(?<![\w.\-="'`(\[/])(?P<a>an? )?(?P<word>images?)(?![\w="'`(\[\])/]|\.\w| =)""", re.IGNORECASE)


def are_rows(subject: Subject) -> bool:
    """Tells whether no input is a picture: rows of numbers, series, or texts."""
    shapes = [shape for split in subject.splits for shape in split.sample.shapes]
    return bool(shapes) and not any(map(is_picture, shapes))


def of_rows(text: str) -> str:
    """Returns a sentence with rows in the place of images.

    Code in the sentence stays as it is.

    >>> of_rows("of 12 images, an image had no number: see images = load(), image_dataset")
    'of 12 rows, a row had no number: see images = load(), image_dataset'
    """

    def said(found: re.Match[str]) -> str:
        word = "row" + found["word"][5:]
        article = (found["a"] or "").replace("n ", " ")
        return article + (word.capitalize() if found["word"][0] == "I" else word)

    return _WORD.sub(said, text)


def about_rows(report: Report) -> Report:
    """Returns a report whose sentences say rows in the place of images."""

    def told(finding: Finding) -> Finding:
        what, evidence, cost, fix = map(of_rows, (finding.what, finding.evidence, finding.cost, finding.fix))
        return dataclasses.replace(finding, what=what, evidence=evidence, cost=cost, fix=fix)

    return dataclasses.replace(
        report,
        findings=tuple(map(told, report.findings)),
        checked=tuple(map(of_rows, report.checked)),
        not_checked=tuple((of_rows(name), of_rows(reason)) for name, reason in report.not_checked),
        about=tuple(map(of_rows, report.about)),
        scores=tuple(map(of_rows, report.scores)),
        doubts=tuple(map(of_rows, report.doubts)),
    )
