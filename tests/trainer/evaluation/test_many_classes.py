"""What is written of a split of many classes can be read, and drawn at all."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.trainer.evaluation.test_assessment import made
from trainer.evaluation import predictions
from trainer.evaluation.scores import calibration, metrics
from trainer.reporting import plots, score_table


def many(classes):
    """Two records of each class but the last one; those of even ids are answered right."""
    labels = np.repeat(np.arange(classes - 1), 2)
    answers = np.where(labels % 2, (labels + 1) % classes, labels)
    probabilities = np.full((len(labels), classes), 0.1 / classes)
    probabilities[np.arange(len(labels)), answers] = 0.9
    return made(probabilities, labels, names=tuple(f"class-{i:05}" for i in range(classes)))


def test_the_plots_of_many_classes_are_small(tmp_path):
    plots.write_all(tmp_path, {"epoch": [1.0], "loss": [1.0]}, {"test": many(metrics.MAX_MATRIX_CLASSES + 1)}, 1)
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
    most = metrics.MAX_MATRIX_CLASSES
    assert len(many(most).scores.to_dict()["confusion_matrix"]) == most
    assert many(most + 1).scores.to_dict()["confusion_matrix"] is None
