"""What a model card says of classes, labels and numbers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import yaml

from pipelines import contract as contracts
from pipelines.contract import Shard, Split
from pipelines.contract.metadata import TEXT
from pipelines.contract.task import Task
from tests.support import tasks
from tests.support.datasets import make_contract, write_dataset
from tests.support.folds import divide
from tests.support.trainings import without_reports
from trainer import run_dir
from trainer.config import TrainConfig
from trainer.data import parts
from trainer.evaluation import evaluate
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores.abstention import Abstention
from trainer.evaluation.scores.calibration import Calibration
from trainer.evaluation.slices import Column, Metadata
from trainer.reporting import card_limits, evaluation_files, markdown, model_card
from trainer.tasks.number_result import NumberPredictions, NumberResult
from trainer.tasks.regression import Regression
from trainer.training.train import train

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
        "0.464 to 0.536, 100 records)." in told
    )


def test_a_card_of_an_evaluation_counts_what_the_run_saw_and_says_what_the_model_itself_does_not(tmp_path, monkeypatch):
    """The run learned from ten images of ok and two of broken, and its model always answers."""
    monkeypatch.setattr(evaluation_files, "write_files", lambda *_, **__: [])
    monkeypatch.setattr(evaluation_files.evaluate, "network", lambda _: None)
    made = contract()
    of_files = {  # each split in one shard, as a contract on disk has it
        name: dataclasses.replace(split, shards=(Shard(name, sum(split.stored.values()), 1, "0" * 64),))
        for name, split in made.splits.items()
    }
    made = dataclasses.replace(made, splits=of_files)
    few = Split({"ok": 10, "broken": 2}, {"ok": 10, "broken": 3}, {"ok": 0, "broken": 1}, ())
    seen = dataclasses.replace(made, splits={**made.splits, "train": few})
    (tmp_path / "contract.json").write_text(made.to_json())
    (tmp_path / "metrics.json").write_text(json.dumps(ABOUT | run_dir.counts_of_part(made, seen)))
    (tmp_path / "calibration.json").write_text(Calibration(1.5, None, "validation", 10).to_json())
    chosen = Abstention(0.5, 0.1, 9, 0, False, "validation", 10)
    found = dataclasses.replace(assessment(), fitted=Calibration(1.5, None, "validation", 10, chosen))

    def card(result, views=""):
        evaluation_files.write(str(tmp_path / "out"), str(tmp_path), str(tmp_path), result, views)
        return (tmp_path / "out" / "model_card.md").read_text()

    text = card(found, evaluate.VIEWS["flip"])
    assert evaluate.VIEWS["flip"] == json.loads((tmp_path / "out" / "metrics.json").read_text())["views"]
    assert "| broken | 2 | 2 | 2 | 3 | 1 |" in text.splitlines()
    assert "| all | 12 | 10 | 10 | 13 | 1 |" in text.splitlines()
    assert "- Fewer than 100 train images have: broken (2), ok (10)." in text.splitlines()
    assert (
        "The model would abstain below the probability 0.5, which was chosen on validation for an error of 0.1 among "
        "the answered. On test it would answer 10 of 10 records with an error of 0.100 (95 % 0.018 to 0.404). As it "
        "was trained, it always answers; `export --abstain-error` makes a model that abstains."
    ) in text
    assert "- The model knows 2 classes and answers one of them for every image" in text
    mirrored = "Each answer is the mean of those on the image and on its mirror image (`evaluate --tta flip`)."
    assert f"would be right in 80.0%. {mirrored}\n" in text
    assert f"{mirrored} The served model looks at each image once: its own scores may differ." in text
    (tmp_path / "calibration.json").write_text(found.fitted.to_json())
    text = card(found)
    assert "The model abstains below the probability 0.5, which" in text
    assert "- The model knows 2 classes. It abstains where it is not sure" in text
    assert "would abstain" not in text
    assert "mirror" not in text
    assert "As it was trained, it abstains below the probability 0.5." in card(assessment())


@pytest.mark.slow
def test_train_and_evaluate_say_the_same_of_a_share_of_the_data(tmp_path, monkeypatch):
    data, run, out = (str(tmp_path / name) for name in ("data", "run", "out"))
    write_dataset(tmp_path / "data", encoding="uint8")
    monkeypatch.setattr(evaluation_files, "write_files", lambda *_, **__: [])
    with without_reports(export=False):
        metrics = train(TrainConfig(data, run, epochs=1, batch_size=8, train_share=0.5, verify="off"))
    evaluation_files.write(out, run, data, evaluate.evaluate(run, data, verify="off"))
    own, other = ((tmp_path / name / "model_card.md").read_text().split("## Data")[1] for name in ("run", "out"))
    assert own.split("## Scores")[0] == other.split("## Scores")[0]
    assert "| ok | 12 | 6 | 9 | 12 | 0 |" in other.splitlines()  # half of 24
    assert metrics["seen"]["train"]["stored"] == {"ok": 12, "broken": 4}


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_the_counts_of_a_fold_are_read_as_they_were_noted(kind, tmp_path):
    tasks.write(tmp_path, kind)
    divide(tmp_path, 3, copies=True)
    whole = contracts.load(tmp_path)
    view = parts.view(whole, tmp_path, 1)
    found = run_dir.seen(whole, json.loads(json.dumps(run_dir.counts_of_part(whole, view))))
    assert found.task == view.task
    assert found.task.images["train"] != whole.task.images["train"]
    for name, split in view.splits.items():
        assert (found.splits[name].natural, found.splits[name].stored) == (split.natural, split.stored)
        assert found.splits[name].copies == split.copies
    assert run_dir.counts_of_part(whole, whole) == {}
    assert run_dir.seen(whole, {}) == whole


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
