"""Renders what a check of labels found, as a page and as a table.

What `class_page` says about untrusted input and the content security policy holds for this page, too.
"""

from __future__ import annotations

import collections
import csv
import io
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from pipelines.contract.task import MULTI_LABEL, REGRESSION, shown
from pipelines.core import html_page
from pipelines.core.text import plural, printable, table
from trainer.evaluation import inference, mistakes
from trainer.evaluation.evaluate import EVALUATION_BATCH
from trainer.evaluation.held_out_predictions import Doubt, Judged
from trainer.evaluation.label_check import Doubts

MOST_PAIRS = 12
SHOWN = 10  # doubts that the terminal shows
COLUMNS = ("path", "label", "suggested", "keep", "number", "margin", "of_label", "of_suggested", "of_split", "key")
TOO_MANY = 0.3  # share of wrong labels from which the model is doubted; test sets have 3.4 % (Northcutt et al. 2021)


def to_csv(found: Sequence[Doubt]) -> str:
    """Renders a table to correct, which `prepare --corrections` takes.

    A person writes no into the column keep to take what is suggested, drop to leave the image out, or another label.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for number, doubt in enumerate(found, start=1):
        sure = ["" if math.isnan(p) else format(p, ".6g") for p in (doubt.of_label, doubt.of_suggested)]
        margin = format(doubt.margin, ".6g")
        writer.writerow([doubt.path, doubt.label, doubt.suggested, "", number, margin, *sure, doubt.split, doubt.key])
    return text.getvalue()


def sentences(judged: Judged, found: Doubts) -> list[str]:
    """Returns what was judged, and how many labels are estimated to be wrong."""
    number = len(judged.keys)
    cells = judged.truth.size if judged.kind == MULTI_LABEL else number
    what = "images" if judged.kind == REGRESSION else "labels"
    told = [
        f"Judged {plural(number, 'image')}: {', '.join(judged.splits)}. Images that a model was trained on are not "
        "judged by it.",
        f"About {found.estimated:,.0f} of {cells:,} {what} ({found.estimated / max(1, cells):.1%}) are estimated to be "
        f"wrong; {plural(len(found.positions), 'image')} {'is' if len(found.positions) == 1 else 'are'} named.",
    ]
    if found.estimated > TOO_MANY * cells:
        told.append(
            "So many wrong labels are not likely: these predictions are too weak to judge the labels. Train a better "
            "model first, such as one with --recipe transfer."
        )
    if not math.isnan(judged.agreement):
        told.append(
            f"The predictions agree with {judged.agreement:.0%} of the labels. Where they are surely wrong "
            "themselves, right labels are doubted, too: a better model doubts fewer."
        )
    return told


def text(judged: Judged, found: Doubts, named: Sequence[Doubt]) -> str:
    """Returns the sentences and the surest doubts as lines for the terminal."""
    rows = [(printable(d.path), d.label, d.suggested, f"{d.margin:.3f}") for d in named[:SHOWN]]
    lines = sentences(judged, found)
    return "\n".join([*lines, "", table(("image", "label", "suggested", "margin"), rows)] if rows else lines)


def html(judged: Judged, found: Doubts, named: Sequence[Doubt], title: str) -> str:
    """Renders the page as a string that can be encoded as UTF-8."""
    made = html_page.environment(pathlib.Path(__file__).parent / "templates")
    made.filters.update(n="{:,}".format, score="{:.3f}".format, shown=lambda answer: shown(judged.kind, answer))
    pairs = collections.Counter((doubt.label, doubt.suggested) for doubt in named).most_common(MOST_PAIRS)
    return made.get_template("labels.html.j2").render(
        title=title,
        sentences=sentences(judged, found),
        estimated=found.estimated,
        judged=len(judged.keys),
        agreement=judged.agreement,
        named=list(zip(named, _pictures(named), strict=True)),
        pairs=pairs if judged.kind != REGRESSION else [],
        margin="residual" if judged.kind == REGRESSION else "margin",
    )


def _pictures(named: Sequence[Doubt]) -> list[tuple[str, int]]:
    """Returns a data URI and the longer side of the picture of each record."""
    found: dict[int, tuple[str, int]] = {}
    for data, split in dict.fromkeys((doubt.data, doubt.split) for doubt in named):
        of_place = [i for i, doubt in enumerate(named) if (doubt.data, doubt.split) == (data, split)]
        places = {key: at for at, key in enumerate(inference.keys(data, split)[0])}
        positions = np.array([places[named[i].key] for i in of_place])
        for i, image in zip(of_place, inference.pixels(data, split, positions, EVALUATION_BATCH), strict=True):
            found[i] = (mistakes.data_uri(image), max(image.shape))
    return [found[i] for i in range(len(named))]
