"""What is written of a split of many classes can be read, and drawn at all."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from pipelines.contract import Shard, Split
from tests.support.datasets import make_contract
from tests.trainer.evaluation.test_assessment import made
from trainer.config import TrainerError
from trainer.evaluation import held_out_predictions, label_check, predictions
from trainer.evaluation.scores import calibration, class_scores
from trainer.reporting import plots, score_table


def many(classes):
    """Two records of each class but the last one; those of even ids are answered right."""
    labels = np.repeat(np.arange(classes - 1), 2)
    answers = np.where(labels % 2, (labels + 1) % classes, labels)
    probabilities = np.full((len(labels), classes), 0.1 / classes)
    probabilities[np.arange(len(labels)), answers] = 0.9
    return made(probabilities, labels, names=tuple(f"class-{i:05}" for i in range(classes)))


def test_the_plots_of_many_classes_are_small(tmp_path):
    plots.write_all(tmp_path, {"epoch": [1.0], "loss": [1.0]}, {"test": many(class_scores.MAX_MATRIX_CLASSES + 1)}, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "probabilities-test.png", "recall-test.png"]
    for picture in tmp_path.iterdir():
        with Image.open(picture) as image:
            assert max(image.size) < 4000


def test_a_plot_with_more_classes_than_names_shows_the_lowest_recall():
    figure = plots.recalls(many(plots.MAX_NAMED_CLASSES + 1), "test")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == plots.MAX_NAMED_CLASSES
    assert names[:3] == ["class-00001", "class-00003", "class-00005"]
    assert "class-00060" not in names  # it has no records
    assert "the lowest 60 of 61 classes" in figure.axes[0].get_xlabel()


def test_names_of_classes_are_no_formulas(tmp_path, monkeypatch):
    """A run whose plots fail would be lost at its end."""
    drawn, write = [], plots.FigureCanvasAgg.print_png
    monkeypatch.setattr(
        plots.FigureCanvasAgg, "print_png", lambda self, *a, **o: (drawn.append(self.figure), write(self, *a, **o))
    )
    truth = np.arange(40) % 2
    result = made(np.eye(2)[truth], truth, names=("$^$", "5$ to $_{"))
    plots.write_all(tmp_path, {"epoch": [1.0], "loss": [1.0]}, {"test": result}, 1)
    labels = drawn[1].axes[0].get_xticklabels()
    assert [(label.get_text(), label.get_parse_math()) for label in labels] == [("$^$", False), ("5$ to $_{", False)]
    rates, losses = np.array([1e-4, 1e-3, 1e-2, 1e-1]), np.array([1.0, 0.9, 0.5, 2.0])
    plots.rate_test(tmp_path / "rates.png", rates, losses, losses, None)
    assert all(label.get_parse_math() for label in drawn[-1].axes[0].get_xticklabels())  # powers of 10


@pytest.mark.parametrize(("classes", "rows"), [(score_table.MAX_ROWS, 60), (score_table.MAX_ROWS + 1, 60), (900, 60)])
def test_the_table_has_the_classes_of_the_lowest_recall(classes, rows):
    lines = score_table.table(many(classes)).splitlines()
    shown = [line for line in lines if line.startswith("class-")]
    assert len(shown) == rows
    if classes == 900:
        assert [line.split()[0] for line in shown[:3]] == ["class-00001", "class-00003", "class-00005"]
    told = [line for line in lines if "have the lowest recall" in line]
    assert told == ([] if classes == rows else [
        f"These 60 of {classes} classes have the lowest recall; the report lists all."
    ])  # fmt: skip


def test_the_evaluation_takes_little_more_memory_than_the_predictions():
    """Some bytes for each logit: 8 of the probabilities; curves, lists and copies took 80."""
    found = many(900)
    found = dataclasses.replace(
        found, predictions=dataclasses.replace(found.predictions, logits=found.predictions.logits.astype(np.float32))
    )
    cells = found.predictions.logits.size
    tracemalloc.start()
    try:
        calibration.fit_temperature(found.predictions.logits, found.predictions.labels)
        assert len(found.areas) == 900
        assert len(found.curves_of_the_lowest(3)) == 3
        predictions.to_csv(found.predictions, 1.0)
        score_table.table(found)
        assert tracemalloc.get_traced_memory()[1] / cells < 40
    finally:
        tracemalloc.stop()


def test_the_numbers_leave_out_a_matrix_of_millions_of_cells():
    most = class_scores.MAX_MATRIX_CLASSES
    assert len(many(most).scores.to_dict()["confusion_matrix"]) == most
    assert many(most + 1).scores.to_dict()["confusion_matrix"] is None


def test_labels_of_many_classes_are_checked_by_the_likeliest_ones(tmp_path):
    """The table of 101 classes names five of each record; the doubts are those of all probabilities."""
    random = np.random.default_rng(0)
    classes = predictions.MOST_CLASSES + 1
    names = tuple(f"class-{i:03}" for i in range(classes))
    labels = np.repeat(np.arange(classes), 4)
    logits = random.normal(size=(len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 6
    wrong = np.arange(0, 40, 4)
    labels[wrong] = 50
    keys = tuple(f"{i:016x}-000" for i in range(len(labels)))
    found = predictions.Predictions(names, keys, labels, logits)
    counts = dict.fromkeys(names, 1)
    shards = (Shard("tiny-train.tfrecord-00000-of-00001", classes, 1, "0" * 64),)
    contract = make_contract(labels=names, splits={"train": Split(counts, counts, dict.fromkeys(names, 0), shards)})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/contract.json").write_text(contract.to_json())
    run = tmp_path / "run"
    run.mkdir()
    (run / "predictions-test.csv").write_text(predictions.to_csv(found, 1.0))
    header, first = (run / "predictions-test.csv").read_text().splitlines()[:2]
    assert header == (
        "key,label,predicted,probability,probability of the label,class 2,probability of class 2,class 3,"
        "probability of class 3,class 4,probability of class 4,class 5,probability of class 5"
    )
    assert first.startswith("0000000000000000-000,class-050,class-000,")

    checked = held_out_predictions.read([str(run)], str(tmp_path / "data"))
    whole = label_check.of_classes(labels, found.probabilities())
    doubts = checked.doubts()
    assert len(doubts.positions) > 3
    assert set(doubts.positions.tolist()) <= set(wrong.tolist())
    assert doubts.positions.tolist() == whole.positions.tolist()
    np.testing.assert_array_equal(doubts.suggested, whole.suggested)

    (run / "predictions-test.csv").write_text("key,label,predicted,probability\n" + first.rsplit(",", 9)[0] + "\n")
    with pytest.raises(TrainerError, match="should have for each record the 5 likeliest classes"):
        held_out_predictions.read([str(run)], str(tmp_path / "data"))
