"""Writes the scores of a run for TensorBoard, next to its training curves."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.image import metadata

from trainer.evaluation.assessment import Assessment
from trainer.evaluation.scores import class_scores
from trainer.tasks.task import Result


def write(logs: Path, plots: Path, assessments: Sequence[Assessment | Result], step: int) -> None:
    """Writes the scalars and the plots of each split to LOGS/evaluation-SPLIT.

    Args:
      plots: folder of the PNG files of the splits.
      step: step of the kept epoch in the training curves, so that the scores stand at the epoch of the weights.
    """
    for found in assessments:
        with tf.summary.create_file_writer(str(logs / f"evaluation-{found.split}")).as_default(step=step):
            for name, value in scalars(found).items():
                tf.summary.scalar(name, value)
            for picture in sorted(plots.glob(f"*-{found.split}.png")):
                _image(picture.stem.removesuffix(f"-{found.split}"), picture.read_bytes())


def _image(name: str, png: bytes) -> None:
    """Writes a PNG file as it is: `tf.summary.image` would encode it again."""
    width, height = struct.unpack(">II", png[16:24])  # in the header of every PNG
    about = metadata.create_summary_metadata(display_name=None, description=None)
    tf.summary.write(name, tf.constant([str(width), str(height), png]), metadata=about)


def scalars(found: Assessment | Result) -> dict[str, float]:
    """Returns the scalars by name, without undefined ones."""
    if isinstance(found, Result):
        return found.scalars()
    recalls = class_scores.recall(found.matrix)
    values = {
        "evaluation/accuracy": class_scores.accuracy(found.matrix),
        "evaluation/majority_baseline": class_scores.majority_baseline(found.matrix)[1],
        "evaluation/balanced_accuracy": class_scores.balanced_accuracy(found.matrix),
        "evaluation/macro_f1": class_scores.macro_f1(found.matrix),
        "evaluation/mean_roc_auc": found.mean_of_curves("auc"),
        "evaluation/mean_average_precision": found.mean_of_curves("average_precision"),
        "calibration/error_before": found.calibration_scores(before=True)["ece"],
        "calibration/error": found.calibration_scores()["ece"],
        **{f"recall/{label}": float(value) for label, value in zip(found.labels, recalls, strict=True)},
    }
    return {name: value for name, value in values.items() if not math.isnan(value)}
