"""Writes model_card.md, which describes a model to those who get it.

It says what the model is, what it learned from, how good it is, and its limits.

The sections follow Mitchell et al. 2019 ("Model cards for model reporting"). The head is YAML as of Hugging Face's
model cards. What the program cannot know, such as the licence and the intended use, is left to the user and said so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from pipelines.contract import Contract
from pipelines.contract.contract import BANDS
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core.summary import reading_order
from pipelines.core.text import general, listed, plural
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import class_scores, intervals
from trainer.evaluation.scores.abstention import Abstention
from trainer.evaluation.scores.calibration import Calibration
from trainer.reporting import card_limits
from trainer.reporting.markdown import of_table, safe, table
from trainer.tasks import slice_table
from trainer.tasks.shown_result import Cell, Headline, Table, reach
from trainer.tasks.task import Result

TRAIN = "train"
MOST_ROWS = 60  # classes, labels or slices of a table
MOST_NAMES = 100  # classes in a sentence
_KINDS = {CLASSES: "image-classification", MULTI_LABEL: "image-classification", REGRESSION: "image-regression"}


class Model(NamedTuple):
    """Describes the trained model.

    name: of its run. about: the content of the run's metrics.json. contract: of the dataset that it was trained on,
    with the counts of what it saw. served: what was fitted for the model that is served, None if it is that of the
    results.
    """

    name: str
    about: Mapping[str, Any]
    contract: Contract
    served: Calibration | None = None

    def abstention(self, results: Sequence[Assessment | Result]) -> Abstention | None:
        """Returns by what the served model abstains, None if it always answers."""
        fitted = [found.fitted for found in results if isinstance(found, Assessment)]
        own = self.served or next(iter(fitted), None)
        return own.abstention if own else None


def text(model: Model, results: Sequence[Assessment | Result], evaluated: Contract, views: str = "") -> str:
    """Returns the content of model_card.md.

    Args:
      results: one per split, the most important one first.
      evaluated: the contract of the dataset that they are of.
      views: a sentence about the views of each image whose answers are averaged; "" for the image alone.
    """
    abstention = model.abstention(results)
    contract, shown = model.contract, [_Shown.of(found) for found in results]
    sections = [
        f"# {safe(model.name)}",
        " ".join([*(shown_split.sentence for shown_split in shown[:1]), *([views] if views else [])]),
        *_section("Model", _model(model)),
        *_section("Input", _input(contract)),
        *_section("Output", _output(contract, results, abstention)),
        *_section("Data", _data(contract)),
        *_section("Scores", _scores(contract, evaluated, shown, views)),
        *_section(
            "Limits that data and scores show",
            _bullets(map(safe, card_limits.sentences(contract, model.about, results, abstention is not None))),
        ),
        *_section("To be filled in", _bullets(_LEFT)),
    ]
    return "\n\n".join([_head(model, shown, evaluated), *(part for part in sections if part)]) + "\n"


_LEFT = (
    "Licence of the model, and of the photographs that it was trained on.",
    "Intended use, and uses that it is not made for.",
    "Where the photographs come from, who may be seen on them, and whether they agreed.",
    "Who answers for the model, and whom to tell about wrong answers.",
)


class _Shown(NamedTuple):
    """Holds what a split is shown by, whatever its kind of task is."""

    split: str
    sentence: str
    headlines: Sequence[Headline]
    tables: Sequence[Table]

    @classmethod
    def of(cls, found: Assessment | Result) -> _Shown:
        if isinstance(found, Result):
            report = found.report()
            slices = [report.slices] if report.slices and report.slices.rows else []
            return cls(found.split, safe(report.sentence), report.headlines, [*report.tables, *slices])
        parts = slice_table.of_classes(found)
        tables = [_classes(found), *([parts] if parts and parts.rows else [])]
        return cls(found.split, _sentence(found), _headlines(found), tables)


def _sentence(found: Assessment) -> str:
    if not found.records:
        return f"On {safe(found.split)} there are no records."
    majority, rate = class_scores.majority_baseline(found.matrix)
    return (
        f"On {safe(found.split)}, {plural(found.records, 'record')} of {len(found.labels)} classes, the model is "
        f"right in {class_scores.accuracy(found.matrix):.1%} of them. Averaged over the classes, it is right in "
        f"{class_scores.balanced_accuracy(found.matrix):.1%}. Always answering {safe(found.labels[majority])} would be "
        f"right in {rate:.1%}."
    )


def _headlines(found: Assessment) -> list[Headline]:
    matrix, ends = found.matrix, found.intervals
    if not found.records:
        return []
    majority, rate = class_scores.majority_baseline(matrix)
    after = found.calibration_scores()
    return [
        Headline(
            "Accuracy", class_scores.accuracy(matrix), ends["accuracy"], f"always {found.labels[majority]}: {rate:.3f}"
        ),
        Headline(
            "Balanced accuracy", class_scores.balanced_accuracy(matrix), ends["balanced_accuracy"],
            f"always one class: {class_scores.chance(matrix):.3f}",
        ),
        Headline("Macro F1", class_scores.macro_f1(matrix), ends["macro_f1"]),
        Headline("Calibration error", after["ece"], None, f"by chance alone: {after['ece_by_chance']:.3f}"),
    ]  # fmt: skip


def _classes(found: Assessment) -> Table:
    matrix = found.matrix
    support = matrix.sum(axis=1)
    scores = class_scores.recall(matrix), class_scores.precision(matrix), class_scores.f1(matrix)
    columns = zip(found.labels, *scores, support, matrix.diagonal(), strict=True)
    rows: list[tuple[Cell, ...]] = [
        (label, float(r), reach(intervals.wilson(int(hits), int(n))), float(p), float(f), int(n))
        for label, r, p, f, n, hits in columns
    ]
    rows.sort(key=lambda row: (row[1] != row[1], row[1]))  # a recall of NaN is last
    return Table("Classes", "", ("class", "recall", "95 %", "precision", "F1", "records"), rows)


def _head(model: Model, shown: Sequence[_Shown], evaluated: Contract) -> str:
    """Returns the YAML head. The licence is left to the user."""
    task = _KINDS[model.contract.task.kind]
    dataset: dict[str, str] = {"name": evaluated.name, "type": "shardmill"}
    found: list[dict[str, Any]] = [
        {
            "task": {"type": task},
            "dataset": {**dataset, "split": split.split},
            "metrics": [
                {"type": name.lower().replace(" ", "_"), "name": name, "value": round(float(value), 4)}
                for name, value, *_ in split.headlines
                if value == value
            ],
        }
        for split in shown
    ]
    head: dict[str, Any] = {
        "library_name": "keras",
        **({} if model.contract.task.kind == REGRESSION else {"pipeline_tag": task}),  # Hugging Face has no such one
        "tags": ["shardmill", model.contract.task.kind],
        "model-index": [{"name": model.name, "results": found}],
    }
    return f"---\n# license: state one here\n{yaml.safe_dump(head, sort_keys=False, width=1000)}---"


def _section(title: str, content: str) -> list[str]:
    return [f"## {title}", content] if content else []


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _model(model: Model) -> str:
    about, contract = model.about, model.contract
    epochs = about.get("epochs", {})
    rows: list[tuple[str, Cell]] = [
        ("network", str(about.get("model", ""))),
        ("parameters", int(about.get("parameters", 0))),
        ("initial weights", str(about.get("init_weights") or "random")),
        ("trained on", f"{int(about.get('train_records', 0)):,} records of {contract.name}"),
        ("epochs", f"{epochs['run']}; the weights of epoch {epochs['kept']} are kept" if epochs else ""),
        ("folds", _folds(about.get("folds", {}))),
        ("seed", str(about.get("seed", ""))),
        ("made with", listed((f"{name} {version}" for name, version in about.get("versions", {}).items()), 9)),
        ("contract (SHA-256)", str(about.get("dataset", {}).get("contract_sha256", ""))),
    ]
    return table(("property", "value"), [row for row in rows if row[1] not in ("", 0)])


def _folds(found: Mapping[str, Any]) -> str:
    return f"cross-validation; served is {found['served']}" if found else ""


def _input(contract: Contract) -> str:
    height, width, channels = contract.image_shape
    order = {BANDS: f"{channels} bands ({', '.join(contract.channel_names)})", "L": "gray, 1 channel"}.get(
        contract.channel_order, "RGB, 3 channels"
    )
    low, high = (general(end) for end in contract.value_range)
    n = contract.normalization
    affine = ", ".join(
        f"{name} × {general(s)} + ({general(o)})"
        for name, s, o in zip(contract.channel_names, n.scale, n.offset, strict=True)
    )
    rows: list[tuple[str, Cell]] = [
        ("image", f"{width} × {height} pixels, {order}"),
        ("resized by", _words(contract.resize)),
        ("decoded", _words(contract.decode)),
        ("the network's own input", f"float32 of shape (batch, {height}, {width}, {channels}), from {low} to {high}"),
        ("normalization", f"{n.mode}: {affine}"),
    ]
    return (
        "The served model (`saved_model`) takes the bytes of JPEG, PNG and WebP files of any size, and does all of "
        "this itself. `python -m trainer predict` also takes other formats. TFLite and ONNX files take pixels of "
        "the size below, from 0 to 255. The network alone (`model.keras`) takes normalized values.\n\n"
        + table(("property", "value"), rows)
    )


def _words(values: Mapping[str, Any]) -> str:
    """Returns settings as one line, without those that are not set."""
    told = (f"{name.replace('_', ' ')}: {value}" for name, value in sorted(values.items()) if value is not None)
    return "; ".join(told) or "not stated"


def _output(contract: Contract, results: Sequence[Assessment | Result], served: Abstention | None) -> str:
    if contract.task.kind == REGRESSION:
        return f"One number for each of: {safe(listed(contract.task.targets, MOST_NAMES))}, in the units of the table."
    names = safe(listed(contract.labels, MOST_NAMES))
    if contract.task.kind == MULTI_LABEL:
        many = plural(len(contract.labels), "label")
        return f"A probability for each of {many}, and whether the label is answered: {names}."
    told = f"A probability for each of {len(contract.labels)} classes, and the most probable one: {names}."
    for found in results[:1]:
        if isinstance(found, Assessment):
            told += _calibrated(found) + _abstaining(found, served)
    return told


def _calibrated(found: Assessment) -> str:
    fitted = found.fitted
    if not fitted.split:
        return " The probabilities are not calibrated, because there was no validation split."
    told = (
        f" The probabilities are calibrated with temperature {fitted.temperature:.3g}, fitted on "
        f"{plural(fitted.records, 'record')} of {safe(fitted.split)}."
    )
    if fitted.threshold:
        told += (
            f" To find {safe(fitted.threshold.label)} with the best balanced accuracy, answer it from the probability "
            f"{fitted.threshold.probability:.3g} on."
        )
    return told


def _abstaining(found: Assessment, served: Abstention | None) -> str:
    """Says where the model abstains, and where it would if that was only asked.

    Args:
      served: by what the served model abstains, None if it always answers.
    """
    chosen, own = found.fitted.abstention, found.abstaining
    told, same = "", chosen == served
    if chosen and own:
        told = (
            f" The model {'abstains' if same else 'would abstain'} below the probability {own.probability:.3g}, which "
            f"was chosen on {safe(chosen.split)} for an error of {chosen.wanted:g} among the answered. On "
            f"{safe(found.split)} it {'answers' if same else 'would answer'} {own.answered:,} of {own.records:,} "
            f"records with an error of {own.error:.3f} (95 % {reach(own.reach)})."
        )
    if same:
        return told
    if served is None:
        return f"{told} As it was trained, it always answers; `export --abstain-error` makes a model that abstains."
    return f"{told} As it was trained, it abstains below the probability {served.probability:.3g}."


def _data(contract: Contract) -> str:
    names = reading_order(contract.splits)
    digest = contract.source_digest
    told = [f"{safe(contract.name)}, prepared by Shardmill; digest of the sources: `{digest}`."]
    rows: list[tuple[Cell, ...]] = []
    if contract.task.kind == CLASSES or contract.labels:
        for label in contract.labels[:MOST_ROWS]:
            natural = [contract.splits[name].natural.get(label, 0) for name in names]
            rows.append((label, *natural, *_of_train(contract, label)))
    if contract.task.kind == CLASSES:
        natural = [sum(contract.splits[name].natural.values()) for name in names]
        train = contract.splits.get(TRAIN)
        sums = (sum(train.stored.values()), sum(train.copies.values())) if train else (0, 0)
        rows.append(("all", *natural, *sums))
    elif contract.task.images:
        images = [contract.task.images.get(name, {}) for name in names]
        train_images = contract.task.images.get(TRAIN, {})
        stored = (train_images.get("stored", 0), train_images.get("copies", 0))
        rows.append(("all images", *(own.get("natural", 0) for own in images), *stored))
    columns = ("images", *names, "train records", "copies among them")
    told.append(table(columns, rows))
    if len(contract.labels) > MOST_ROWS:
        told.append(f"The first {MOST_ROWS} of {len(contract.labels):,} names; `contract.json` has all.")
    if contract.unlabelled is not None:
        told.append(f"{plural(contract.unlabelled.records, 'image')} without a label were not used.")
    return "\n\n".join(told)


def _of_train(contract: Contract, label: str) -> tuple[int, int]:
    train = contract.splits.get(TRAIN)
    return (train.stored.get(label, 0), train.copies.get(label, 0)) if train else (0, 0)


def _scores(contract: Contract, evaluated: Contract, shown: Sequence[_Shown], views: str) -> str:
    parts = ["All intervals are 95 % intervals. `docs/training.md` of Shardmill defines the scores."]
    if views:
        parts.append(f"{views} The served model looks at each image once: its own scores may differ.")
    if evaluated.source_digest != contract.source_digest:
        parts.append(
            f"These scores are of another dataset than that of the training: {safe(evaluated.name)}, digest of the "
            f"sources `{evaluated.source_digest}`."
        )
    for split in shown:
        parts.append(f"### {safe(split.split)}")
        parts.append(
            table(
                ("score", "value", "95 %", "beside it"),
                [(name, value, reach(ends) if ends else "", remark) for name, value, ends, remark in split.headlines],
            )
        )
        for part in split.tables:
            heading = f"{safe(part.title)}. {safe(part.text)}" if part.text else f"{safe(part.title)}."
            parts += [heading, of_table(part, MOST_ROWS)]
    return "\n\n".join(parts)
