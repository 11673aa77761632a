"""What a model card says of classes, labels and numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import yaml

from pipelines.contract import Split
from pipelines.contract.metadata import TEXT
from pipelines.contract.task import Task
from tests.support.datasets import make_contract
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores.calibration import Calibration
from trainer.evaluation.slices import Column, Metadata
from trainer.reporting import card_limits, markdown, model_card
from trainer.tasks.regression import NumberPredictions, NumberResult, Regression

ABOUT = {
    "model": "cnn", "parameters": 1234, "seed": 3, "epochs": {"asked": 9, "run": 8, "kept": 5}, "train_records": 60,
    "dataset": {"contract_sha256": "c" * 64}, "versions": {"keras": "3"},
}  # fmt: skip


def contract(**changes):
    """Train has 50 images of ok and 10 of broken, with 5 copies; test has 8 and 2."""
    train = Split({"ok": 50, "broken": 10}, {"ok": 50, "broken": 15}, {"ok": 0, "broken": 5}, ())
    test = Split({"ok": 8, "broken": 2}, {"ok": 8, "broken": 2}, {"ok": 0, "broken": 0}, ())
    made = make_contract(splits={"train": train, "validation": test, "test": test}, balance={"mode": "uniform"},
                         rejected={"truncated": 2, "empty": 1})  # fmt: skip
    return dataclasses.replace(made, **changes)


def assessment():
    """All eight ok are right, and one of two broken is taken for ok; the wrong one is of site b, as is one ok."""
    answers = [0] * 8 + [0, 1]
    logits = np.log(np.where(np.eye(2)[answers] == 1, 0.9, 0.1))
    keys = tuple(f"{i:016x}-000" for i in range(10))
    sites = np.array(["a"] * 7 + ["b", "b", "a"], object)
    found = Predictions(("ok", "broken"), keys, np.repeat([0, 1], [8, 2]), logits)
    fitted = Calibration(1.5, None, "validation", 10)
    return Assessment("test", found, fitted, Metadata((Column("site", TEXT, sites),), 2))


def test_a_card_of_classes():
    made = contract()
    text = model_card.text(model_card.Model("run", ABOUT, made), [assessment()], made)
    _, head, body = text.split("---\n", 2)
    (result,) = yaml.safe_load(head)["model-index"][0]["results"]
    assert result["dataset"] == {"name": "tiny", "type": "shardmill", "split": "test"}
    assert {m["type"]: m["value"] for m in result["metrics"]}["balanced_accuracy"] == 0.75
    assert head.startswith("# license: state one here\n")
    assert [line for line in body.splitlines() if line.startswith("## ")] == [
        "## Model", "## Input", "## Output", "## Data", "## Scores", "## Limits that data and scores show",
        "## To be filled in",
    ]  # fmt: skip
    for line in (
        "On test, 10 records of 2 classes, the model is right in 90.0% of them. Averaged over the classes, it is right "
        "in 75.0%. Always answering ok would be right in 80.0%.",
        "| epochs | 8; the weights of epoch 5 are kept |",
        "| initial weights | random |",
        "| image | 8 × 8 pixels, RGB, 3 channels |",
        "| the network's own input | float32 of shape (batch, 8, 8, 3), from −2 to 1.984 |",
        "| broken | 10 | 2 | 2 | 15 | 5 |",
        "| all | 60 | 10 | 10 | 65 | 5 |",
        "| broken | 0.500 | 0.095 to 0.905 | 1.000 | 0.667 | 2 |",
        "| ok | 1.000 | 0.676 to 1.000 | 0.889 | 0.941 | 8 |",
    ):
        assert line in body.splitlines(), line
    assert "temperature 1.5, fitted on 10 records of validation." in body
    assert "another dataset" not in body


def test_the_limits_are_those_that_data_and_scores_show():
    made = contract(classes={"labels": {"okay": "ok", "unclear": ""}})
    told = card_limits.sentences(made, ABOUT, [assessment()])
    assert told[:6] == [
        "The model knows 2 classes and answers one of them for every image, also for an image of something else.",
        "Fewer than 100 train images have: broken (10), ok (50).",
        "ok has 5.0 times as many train images as broken: 50 and 10.",
        "The train records were balanced (uniform; 5 of 65 are copies). Probabilities of what is rare in practice "
        "are therefore too high for images as they come.",
        "prepare rejected 3 inputs: empty (1), truncated (2). The model has neither learned from images like these nor "
        "is it scored on them.",
        "These labels of the source are left out: unclear.",
    ]
    assert (
        "On test: The class that is recognized worst is broken, with a recall of 0.500 (95 % 0.095 to 0.905) on 2 "
        "records; the commonest wrong answer to it is ok (1)." in told
    )
    assert any("fewer than 10 records" in sentence for sentence in told)


def test_parts_of_the_data_that_are_clearly_worse_are_named():
    keys = tuple(f"{i:016x}-000" for i in range(200))
    labels = np.arange(200) % 2
    sites = np.repeat(["a", "b"], 100).astype(object)
    answers = np.where(sites == "a", labels, 0)
    logits = np.log(np.where(np.eye(2)[answers] == 1, 0.9, 0.1))
    found = Assessment(
        "test", Predictions(("ok", "broken"), keys, labels, logits), Calibration(),
        Metadata((Column("site", TEXT, sites),)),
    )  # fmt: skip
    told = card_limits.sentences(contract(), ABOUT, [found])
    assert (
        "On test: These parts of the data are clearly worse than all of it: site = b (balanced accuracy 0.500, 95 % "
        "0.500 to 0.500, 100 records)." in told
    )


def test_a_card_of_numbers_says_their_range():
    task = Task("regression", ("age",), (30.0,), (10.0,), (20.0,), (1.0,), (80.0,),
                {"train": {"natural": 7, "stored": 9, "copies": 2}})  # fmt: skip
    made = contract(labels=(), task=task)
    truth = np.array([[10.0], [20], [30], [60]], np.float32)
    answers = NumberPredictions(("age",), tuple("abcd"), truth, np.array([[-1], [-1], [1], [5]], np.float32))
    found = NumberResult("test", answers, Regression().unfitted(made))
    text = model_card.text(model_card.Model("run", ABOUT, made), [found], dataclasses.replace(made, source_digest="f"))
    assert "One number for each of: age, in the units of the table." in text
    assert "| all images | 7 | 0 | 0 | 9 | 2 |" in text
    assert "- The train images have age from 1 to 80. Outside of that nothing was learned." in text
    assert "These scores are of another dataset than that of the training: tiny, digest of the sources `f`." in text
    assert "class" not in text.split("## Data")[1]


def test_names_are_no_markup():
    assert markdown.safe("a|b <i>*x* [y](z) `q` &amp; snake_case _u_\n") == (
        r"a\|b \<i\>\*x\* \[y\](z) \`q\` \&amp; snake_case \_u\_\\u000a"
    )
    assert markdown.table(("name", "n"), [("a|b", 1), ("c", 2)]) == (
        "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 2 |"
    )
