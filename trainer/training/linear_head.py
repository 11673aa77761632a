"""Fits the head of a network in one go, before its other layers are trained.

The layers below the head do not change, so each train image needs to pass through them only once. The head is then a
logistic regression of the classes on these features: a convex problem, which has one solution and needs no choice of an
epoch or of a learning rate.
"""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

import keras
import numpy as np
import scipy  # loads its parts when they are first used: they take a quarter of a second
import tensorflow as tf

from pipelines.contract import Contract
from trainer.config import NO_VALIDATION, TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import class_sampling, dataset
from trainer.models import view
from trainer.models.backbone import Backbone
from trainer.tasks.classes import class_weights, log_priors
from trainer.training.augment import augmentation

_log = logging.getLogger(__name__)

BATCH = 64
MAX_BYTES = 4 << 30  # of features in memory
# Ridge penalties on the weights of standardized features, from strong to weak. Without a validation split DEFAULT is
# taken, which was near the best one on the photographs of docs/training.md.
PENALTIES = tuple(10.0 ** (-n / 2) for n in range(6))
DEFAULT = 0.1
WORSE = 2  # weaker penalties that may be worse in a row, before the search ends
ITERATIONS = 500


class Features(NamedTuple):
    """Holds the features of N images.

    values: float32 (N, D). labels: int64 (N,). weights: float64 (N,), of the records.
    """

    values: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class Fitted(NamedTuple):
    """Holds a linear head.

    kernel: float32 (D, C). bias: float32 (C,). penalty: the one that was chosen.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float


def fit(config: TrainConfig, contract: Contract, network: keras.Model) -> dict[str, float]:
    """Fits the head of the network to the train split, and sets it.

    With --flip, the features of the flipped images count as further images. With --train-size the features are those of
    the centre, which evaluation sees: all other changes of images are drawn in the epochs only. Records and classes
    have the weights that --resample and --loss give them. The penalty is the one with the lowest loss on the validation
    split, in which each class counts equally.

    Returns:
      "loss" and "balanced_accuracy" on the train split, and "images_per_second" of the features.

    Raises:
      TrainerError: the network does not end in a Dense layer, or the features do not fit into memory.
    """
    head, began = Backbone(network).head, time.perf_counter()
    function = _function(network, head)
    chosen = np.array(augmentation.chosen(config, contract)) if config.flip else np.zeros(len(contract.labels), bool)
    records = contract.split(TRAIN_SPLIT).records
    train = _features(function, records, config.data, config.train_part, chosen)
    seconds = time.perf_counter() - began
    judged = None
    if config.validation != NO_VALIDATION:
        records = contract.split(config.validation).records
        judged = _features(function, records, config.data, config.validation, np.zeros(len(contract.labels), bool))
    priors = class_sampling.priors(contract, config.resample)
    found = solve(train, judged, class_factors(config, contract), _shift(config, priors), config.label_smoothing)
    head.set_weights([found.kernel, found.bias][: len(head.get_weights())])
    scores = train.values @ found.kernel + found.bias
    rate = len(train.labels) / max(seconds, 1e-9)
    if config.train_size or config.crop_range():
        where = "the centre of each image" if config.train_size else "each image whole"
        _log.info("the head is fitted on %s%s, without crops", where, " and its mirror image" if chosen.any() else "")
    _log.info(
        "the head is fitted on %s features of %s images (%.0f images/s); penalty %.2g",
        f"{train.values.shape[1]:,}", f"{len(train.labels):,}", rate, found.penalty,
    )  # fmt: skip
    return {
        "loss": float(np.average(_losses(scores, train.labels), weights=train.weights)),
        "balanced_accuracy": balanced_accuracy(scores, train.labels),
        "images_per_second": rate,
    }


def class_factors(config: TrainConfig, contract: Contract) -> np.ndarray:
    """Returns how much a record of each class counts, float64 (C,).

    It is the weight of --resample and --loss together.
    """
    stored = class_sampling.counts(contract)
    drawn = class_sampling.epoch_counts(contract, config.resample)
    factors = np.array([d / s if s else 0.0 for d, s in zip(drawn, stored, strict=True)])
    if config.loss == "weighted":
        factors = factors * class_weights(class_sampling.priors(contract, config.resample))
    return factors


def solve(
    train: Features, judged: Features | None, factors: np.ndarray, shift: np.ndarray, smoothing: float = 0.0
) -> Fitted:
    """Finds the head with the penalty that suits the judged features best.

    It minimizes, over kernel W and bias b,

        sum_i w_i (- sum_c t_ic log softmax(z_i W + b + shift)_c) / sum_i w_i + penalty / 2 * |W|^2

    with z the standardized features and t the targets. The penalty is tried from strong to weak, each from the solution
    of the one before.

    Args:
      judged: of the validation split; None takes the penalty DEFAULT.
      factors: float64 (C,), how much a record of each class counts.
      shift: float64 (C,), added to the scores while fitting only.
      smoothing: share of each target that is spread evenly over the classes.
    """
    mean, deviation = train.values.mean(0, dtype=np.float64), train.values.std(0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1.0)
    z = ((train.values - mean) / deviation).astype(np.float32)
    classes = len(factors)
    weights = train.weights * factors[train.labels]
    weights = weights / weights.sum()
    targets = np.eye(classes)[train.labels] * (1 - smoothing) + smoothing / classes
    solution, best = np.zeros((z.shape[1] + 1) * classes), (np.inf, np.array([]), DEFAULT)
    worse = 0
    for penalty in PENALTIES if judged is not None else [p for p in PENALTIES if p >= DEFAULT * 0.99]:
        solution = scipy.optimize.minimize(
            _objective, solution, (z, targets, weights, shift, penalty), "L-BFGS-B", jac=True,
            options={"maxiter": ITERATIONS, "ftol": 1e-8, "gtol": 1e-6},
        ).x  # fmt: skip
        kernel = solution[classes:].reshape(-1, classes) / deviation[:, None]
        head = np.concatenate([(solution[:classes] - mean @ kernel)[None], kernel])
        loss = -penalty if judged is None else _balanced_loss(judged.values @ head[1:] + head[0], judged.labels)
        if loss < best[0] or judged is None:
            best, worse = (loss, head, penalty), 0
        else:
            worse += 1
            if worse == WORSE:
                break
    _, head, penalty = best
    return Fitted(head[1:].astype(np.float32), head[0].astype(np.float32), penalty)


def balanced_accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean recall of the classes that have records."""
    right = scores.argmax(1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _objective(
    solution: np.ndarray, z: np.ndarray, targets: np.ndarray, weights: np.ndarray, shift: np.ndarray, penalty: float
) -> tuple[float, np.ndarray]:
    classes = targets.shape[1]
    bias, kernel = solution[:classes], solution[classes:].reshape(-1, classes)
    log_p = scipy.special.log_softmax(z @ kernel.astype(np.float32) + bias + shift, axis=1)
    loss = -np.sum(weights * np.sum(targets * log_p, axis=1)) + 0.5 * penalty * np.sum(kernel**2)
    error = weights[:, None] * (np.exp(log_p) - targets)
    slope = z.T @ error.astype(np.float32) + penalty * kernel
    return float(loss), np.concatenate([error.sum(0), slope.ravel()]).astype(np.float64)


def _losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    log_p = np.asarray(scipy.special.log_softmax(scores.astype(np.float64), axis=1))
    return np.asarray(-log_p[np.arange(len(labels)), labels])


def _balanced_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    found = _losses(scores, labels)
    return float(np.mean([found[labels == label].mean() for label in np.unique(labels)]))


def _shift(config: TrainConfig, priors: list[float]) -> np.ndarray:
    adjusted = config.loss == "logit-adjusted"
    return np.array(log_priors(priors)) if adjusted else np.zeros(len(priors))


def _function(network: keras.Model, head: keras.layers.Layer) -> tf.types.experimental.PolymorphicFunction:
    """Returns the network below its head as a compiled function.

    float32 (B, H, W, C), normalized as in the contract -> features float32 (B, D).
    """
    try:
        core = view.core(network)
        below = keras.Model(core.inputs, head.input)
    except (AttributeError, ValueError, TypeError) as e:
        raise TrainerError(
            f"--fit-head needs a functional or sequential model whose last layer is its head. {network.name!r} is "
            "built otherwise: leave --fit-head out, and use --freeze-epochs."
        ) from e
    return tf.function(
        lambda images: tf.cast(below(view.shown(network, images), training=False), tf.float32), reduce_retracing=True
    )


def _features(
    function: tf.types.experimental.PolymorphicFunction, records: int, data: str, split: str, flipped: np.ndarray
) -> Features:
    """Computes the features of a split.

    Args:
      records: number of records of the split.
      flipped: bool (C,), the classes whose flipped images count, too.
    """
    values: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    views = 2 if flipped.any() else 1
    for images, of_images, *given in dataset.load(data, split, BATCH):
        label = of_images.numpy()
        weight = given[0].numpy().astype(np.float64) if given else np.ones(len(label))
        for mirrored in range(views):
            use = flipped[label] if mirrored else np.ones(len(label), bool)
            found = function(images[:, :, ::-1] if mirrored else images).numpy()
            if found.ndim != 2:
                raise TrainerError(f"--fit-head needs a head on vectors. Received: features {found.shape[1:]}.")
            values.append(found[use])
            labels.append(label[use])
            # An image with two views counts as much as an image with one.
            weights.append(np.where(flipped[label], weight / views, weight)[use])
        if len(values) == views:
            _check_memory(4 * values[0].shape[1] * records * views)
    return Features(np.concatenate(values), np.concatenate(labels), np.concatenate(weights))


def _check_memory(needed: int) -> None:
    if needed > MAX_BYTES:
        raise TrainerError(
            f"--fit-head keeps the features of all train images in memory, here {needed / 2**30:.1f} GiB; at most "
            f"{MAX_BYTES >> 30} GiB are allowed. Use --freeze-epochs, which reads them in batches, or --no-flip."
        )
