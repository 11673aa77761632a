"""Averages the answers of `predict` over views, as `evaluate --tta` does.

A run has its network, which sees the views of `several_views`: the answers are those of an evaluation of the same
pixels. An export has no network and one view. It can be given mirror images, but no crops. What is averaged is then
calibrated already, so the probabilities differ a little from those of an evaluation.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.contract import BANDS
from pipelines.core import pixels as pixel_forms
from trainer import run_dir
from trainer.config import TTA_CROPS, TTA_NONE, TrainerError
from trainer.models import alignment, build, several_views
from trainer.run_dir import Run
from trainer.serving.predict import Model
from trainer.tasks import kinds


def averaged(model: Model, directory: str, views: str) -> Model:
    """Returns a model that answers the mean over several views.

    Args:
      model: loaded from `directory`, a run or an exported SavedModel.
      views: one of `config.TTA`.

    Raises:
      TrainerError: crops are asked for, and there is no network, or it sees its images whole.
    """
    if views == TTA_NONE:
        return model
    if Run(directory).model.is_file():
        return _of_run(model, directory, views)
    if views == TTA_CROPS:
        raise TrainerError(
            f"--tta crops needs the network of a run. {directory!r} is an export, which sees the centre only: give the "
            "--output directory of the training, or use --tta flip."
        )
    return _mirrored_too(model)


def _of_run(model: Model, directory: str, views: str) -> Model:
    run = run_dir.finished(directory)
    contract, network = contracts.load(run.directory), build.load(run.model)
    alignment.check_model(network, contract)
    task = kinds.of(contract)
    network = several_views.averaged(network, views, task.activation)
    answers = task.answers(network, contract, task.read_fitted(run.directory, contract))

    @tf.function(reduce_retracing=True, autograph=False)
    def of_pixels(pixels: tf.Tensor) -> tf.Tensor:
        return answers(contracts.normalize(contract, pixels))

    def serve(encoded: list[bytes]) -> np.ndarray:
        return np.asarray(of_pixels(tf.stack([_pixels(content, contract) for content in encoded])))

    return model._replace(serve=serve)


def _pixels(encoded: bytes, contract: Contract) -> np.ndarray:
    """Decodes the PNG of the contract's size that stands for a file.

    It is uint8 (H, W, C). Bands are one below another in the PNG.
    """
    pixels: np.ndarray = tf.io.decode_png(encoded).numpy()
    return pixel_forms.unstacked(pixels, contract.image_shape[2]) if contract.channel_order == BANDS else pixels


def _mirrored_too(model: Model) -> Model:
    """Returns a model that answers the mean for an image and its mirror image.

    Bands lie one below another in the PNGs, so they are mirrored, too.
    """

    def serve(encoded: list[bytes]) -> np.ndarray:
        mirrored = [tf.io.encode_png(tf.io.decode_png(content)[:, ::-1]).numpy() for content in encoded]
        return np.asarray((model.serve(encoded) + model.serve(mirrored)) / 2)

    return model._replace(serve=serve)
