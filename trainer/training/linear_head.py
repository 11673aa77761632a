"""Fits the head of a network in one go, before its other layers are trained.

The layers below the head do not change, so each train image needs to pass through them only once. The head is then a
logistic regression of the classes or labels on these features, or a linear regression of the numbers: a convex problem,
which has one solution and needs no choice of an epoch or of a learning rate.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import scipy  # loads its parts when they are first used: they take a quarter of a second
import tensorflow as tf

from pipelines.contract import Contract
from pipelines.contract.task import CLASSES
from trainer.config import NO_VALIDATION, TRAIN_SPLIT, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.models import view
from trainer.models.backbone import Backbone
from trainer.tasks import kinds
from trainer.tasks.head_problems import Head
from trainer.training.augment import augmentation
from trainer.training.augment.standard import Standard

_log = logging.getLogger(__name__)

BATCH = 64
MAX_BYTES = 4 << 30  # of features in memory
# Ridge penalties on the weights of standardized features, from strong to weak. Without a validation split DEFAULT is
# taken, which was near the best one on the photographs of docs/training.md.
PENALTIES = tuple(10.0 ** (-n / 2) for n in range(6))
DEFAULT = 0.1
WORSE = 2  # weaker penalties that may be worse in a row, before the search ends
ITERATIONS = 500
Flips = Callable[[np.ndarray], np.ndarray]
Changes = Callable[[tf.Tensor, tf.Tensor, int], Iterator[np.ndarray]]


class Features(NamedTuple):
    """Holds the features of N images.

    values: float32 (N, D). labels: as the loader gives them, (N,) or (N, K). weights: float64 (N,), of the records.
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
    the centre, which evaluation sees. With --head-views those of random views count, too; without it all other changes
    of images are drawn in the epochs only. What the head becomes is said by `tasks.heads`. The penalty is the one with
    the lowest loss on the validation split.

    Returns:
      "loss" and the score of an epoch on the train split, and "images_per_second" of the features.

    Raises:
      TrainerError: the network does not end in a Dense layer, or the features do not fit into memory.
    """
    head, began = Backbone(network).head, time.perf_counter()
    function, problem = _function(network, head), kinds.of(contract).head(config, contract)
    flips = _flips(config, contract) if config.flip else None
    records = contract.split(TRAIN_SPLIT).records
    changes = _changes(config, contract, _below(network, head), flips) if config.head_views > 1 else None
    train = _features(function, records, config.data, config.train_part, flips, changes)
    seconds = time.perf_counter() - began
    images, judged = contract.split(TRAIN_SPLIT).records, None
    if config.validation != NO_VALIDATION:
        records = contract.split(config.validation).records
        judged = _features(function, records, config.data, config.validation, None)
    found = solve(train, judged, problem)
    head.set_weights([found.kernel, found.bias][: len(head.get_weights())])
    scores = train.values @ found.kernel + found.bias
    rate = len(train.labels) / max(seconds, 1e-9)
    if config.view_size or config.crop_range():
        where = "the centre of each image" if config.view_size else "each image whole"
        more = f"and on {config.head_views - 1} random views" if changes else "without crops (--head-views takes some)"
        _log.info("the head is fitted on %s%s, %s", where, " and its mirror image" if flips else "", more)
    _log.info(
        "the head is fitted on %s features of %s images, %s views (%.0f views/s); penalty %.2g",
        f"{train.values.shape[1]:,}", f"{images:,}", f"{len(train.labels):,}", rate, found.penalty,
    )  # fmt: skip
    return problem.scored(scores, train.labels, train.weights) | {"images_per_second": rate}


def solve(train: Features, judged: Features | None, problem: Head) -> Fitted:
    """Finds the head with the penalty that suits the judged features best.

    It minimizes the problem's loss of the scores z W + b, plus penalty / 2 * |W|^2, over kernel W and bias b, with z
    the standardized features. The penalty is tried from strong to weak, each from the solution of the one before.

    Args:
      judged: of the validation split; None takes the penalty DEFAULT.
    """
    mean, deviation = train.values.mean(0, dtype=np.float64), train.values.std(0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1.0)
    z = ((train.values - mean) / deviation).astype(np.float32)
    outputs = problem.outputs
    weights, targets = problem.weights(train.labels, train.weights), problem.targets(train.labels)
    solution, best = np.zeros((z.shape[1] + 1) * outputs), (np.inf, np.array([]), DEFAULT)
    worse = 0
    for penalty in PENALTIES if judged is not None else [p for p in PENALTIES if p >= DEFAULT * 0.99]:
        solution = scipy.optimize.minimize(
            _objective, solution, (z, targets, weights, problem, penalty), "L-BFGS-B", jac=True,
            options={"maxiter": ITERATIONS, "ftol": 1e-8, "gtol": 1e-6},
        ).x  # fmt: skip
        kernel = solution[outputs:].reshape(-1, outputs) / deviation[:, None]
        head = np.concatenate([(solution[:outputs] - mean @ kernel)[None], kernel])
        loss = -penalty if judged is None else problem.judged(judged.values @ head[1:] + head[0], judged.labels)
        if loss < best[0] or judged is None:
            best, worse = (loss, head, penalty), 0
        else:
            worse += 1
            if worse == WORSE:
                break
    _, head, penalty = best
    return Fitted(head[1:].astype(np.float32), head[0].astype(np.float32), penalty)


def _objective(
    solution: np.ndarray, z: np.ndarray, targets: np.ndarray, weights: np.ndarray, problem: Head, penalty: float
) -> tuple[float, np.ndarray]:
    outputs = problem.outputs
    bias, kernel = solution[:outputs], solution[outputs:].reshape(-1, outputs)
    loss, error = problem.objective(z @ kernel.astype(np.float32) + bias, targets, weights)
    slope = z.T @ error.astype(np.float32) + penalty * kernel
    loss += 0.5 * penalty * float(np.sum(kernel**2))
    return loss, np.concatenate([error.sum(0), slope.ravel()]).astype(np.float64)


def _flips(config: TrainConfig, contract: Contract) -> Flips:
    """Returns the function that says which images count mirrored, too."""
    if contract.task.kind == CLASSES:
        chosen = np.array(augmentation.chosen(config, contract)) & config.flip
        return lambda labels: chosen[labels]
    return lambda labels: np.full(len(labels), config.flip)


def _function(network: keras.Model, head: keras.layers.Layer) -> tf.types.experimental.PolymorphicFunction:
    """Returns the network below its head as a compiled function.

    float32 (B, H, W, C), normalized as in the contract -> features float32 (B, D).
    """
    below = _below(network, head)
    return tf.function(
        lambda images: tf.cast(below(view.shown(network, images), training=False), tf.float32), reduce_retracing=True
    )


def _below(network: keras.Model, head: keras.layers.Layer) -> keras.Model:
    """Returns the network below its head, which takes what the network sees of images."""
    try:
        return keras.Model(view.core(network).input, head.input)
    except (AttributeError, ValueError, TypeError) as e:
        raise TrainerError(
            f"--fit-head needs a functional or sequential model whose last layer is its head. {network.name!r} is "
            "built otherwise: leave --fit-head out, and use --freeze-epochs."
        ) from e


def _changes(config: TrainConfig, contract: Contract, below: keras.Model, flips: Flips | None) -> Changes:
    """Returns a function that yields the features of random views of images.

    It takes stored images, float32 (B, H, W, C), their labels and the number of the batch, and yields float32 (B, D)
    for each view but the first. The views are changed as the images of a step are; every second one is mirrored, where
    the class is. They are a function of the seed, the number of the batch and that of the view.
    """
    standard = Standard(config, contract, whole=True)

    @tf.function(reduce_retracing=True)
    def features(images: tf.Tensor, labels: tf.Tensor, mirrored: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        changed = standard.change(images, labels, step)
        changed = tf.where(mirrored[:, None, None, None], changed[:, :, ::-1], changed)
        return tf.cast(below(changed, training=False), tf.float32)

    def changes(images: tf.Tensor, labels: tf.Tensor, batch: int) -> Iterator[np.ndarray]:
        flipped = np.zeros(len(labels), bool) if flips is None else flips(labels.numpy())
        for number in range(1, config.head_views):
            step = tf.constant(batch * config.head_views + number, tf.int64)
            yield features(images, labels, tf.constant(flipped & (number % 2 == 1)), step).numpy()

    return changes


def _features(
    function: tf.types.experimental.PolymorphicFunction,
    records: int,
    data: str,
    split: str,
    flips: Flips | None,
    changes: Changes | None = None,
) -> Features:
    """Computes the features of a split.

    Args:
      records: number of records of the split.
      flips: labels of N images -> bool (N,), whether their mirror images count, too; None if none do.
      changes: yields the features of further views of a batch; None for no further views.
    """
    values: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for batch, (images, of_images, *given) in enumerate(dataset.load(data, split, BATCH)):
        label = of_images.numpy()
        whole = np.ones(len(label), bool)
        flipped = ~whole if flips is None else flips(label)
        views = [(function(images).numpy(), whole)]
        if flips is not None:
            views.append((function(images[:, :, ::-1]).numpy(), flipped))
        if changes is not None:
            views += [(found, whole) for found in changes(images, of_images, batch)]
        if views[0][0].ndim != 2:
            raise TrainerError(f"--fit-head needs a head on vectors. Received: features {views[0][0].shape[1:]}.")
        # An image with many views counts as much as an image with one.
        weight = (given[0].numpy().astype(np.float64) if given else np.ones(len(label))) / sum(use for _, use in views)
        for found, use in views:
            values.append(found[use])
            labels.append(label[use])
            weights.append(weight[use])
        if not batch:
            _check_memory(4 * views[0][0].shape[1] * records * len(views))
    return Features(np.concatenate(values), np.concatenate(labels), np.concatenate(weights))


def _check_memory(needed: int) -> None:
    if needed > MAX_BYTES:
        raise TrainerError(
            f"--fit-head keeps the features of all train images in memory, here {needed / 2**30:.1f} GiB; at most "
            f"{MAX_BYTES >> 30} GiB are allowed. Use --freeze-epochs, which reads them in batches, fewer "
            "--head-views, or --no-flip."
        )
