"""Finds a share of the train images, for curves of scores over the amount of data.

The share of a class are its images with the smallest hashes of their keys, and of the seed if that is not 0. So shares
of one seed are nested: a smaller one holds no image that a larger one lacks. Copies belong to the share of their image.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.contract import Contract, Split
from pipelines.contract.task import CLASSES
from trainer.config import TRAIN_SPLIT, TrainerError
from trainer.data.shards import integrity

HASH, ORIGINAL = 16, b"-000"  # characters of a key that identify the image; the end of a key that is no copy
BATCH = 1024
_NAME = re.compile(rf"{TRAIN_SPLIT}-share-(0\.\d+)(?:-seed-(\d+))?")


class Share(NamedTuple):
    """Says which share of the train images is meant.

    part: above 0 and below 1. Of n images of a class it is part * n, rounded up.
    seed: decides which images these are.
    """

    part: float
    seed: int = 0


def share_of(name: str) -> Share | None:
    """Returns the share that the name of a part stands for; None for others.

    >>> share_of("train-share-0.25"), share_of("train-share-0.5-seed-3"), share_of("train")
    (Share(part=0.25, seed=0), Share(part=0.5, seed=3), None)
    """
    match = _NAME.fullmatch(name)
    return Share(float(match[1]), int(match[2] or 0)) if match else None


def find(contract: Contract, directory: str | os.PathLike[str], share: Share) -> tuple[Split, tuple[np.ndarray, ...]]:
    """Returns the counts of a share of train, and its records.

    Returns:
      The counts, and for each shard that holds records which of them belong to the share, bool (n,).

    Raises:
      TrainerError: the task of the dataset is not classes.
    """
    if contract.task.kind != CLASSES:
        raise TrainerError(f"--train-share is for classes. The task of {contract.name!r} is {contract.task.kind}.")
    train = contract.split(TRAIN_SPLIT)
    paths = integrity.checked_shards(contract, os.fspath(directory), TRAIN_SPLIT)
    images, labels, copies = _records(tuple(map(str, paths)), contract.digest)
    chosen = np.zeros(len(images), bool)
    for label in np.unique(labels):
        own = labels == label
        different = _ordered(np.unique(images[own]), share.seed)
        chosen[own] = np.isin(images[own], different[: math.ceil(share.part * len(different))])
    counts = [train.shards[i].records for i in range(len(train.shards))]
    masks = np.split(chosen, np.cumsum(counts)[:-1])
    shards = tuple(
        dataclasses.replace(shard, records=int(mask.sum())) for shard, mask in zip(train.shards, masks, strict=True)
    )
    stored, of_copies = (
        {name: int((which & chosen & (labels == number)).sum()) for number, name in enumerate(contract.labels)}
        for which in (np.ones(len(images), bool), copies)
    )
    natural = {name: stored[name] - of_copies[name] for name in contract.labels}
    return Split(natural, stored, of_copies, shards), tuple(mask for mask in masks if len(mask))


@functools.lru_cache(maxsize=4)
def _records(paths: tuple[str, ...], digest: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads which image, which class and whether a copy each record is.

    Args:
      digest: of the contract, so that another dataset in the same place is read anew.
    """
    spec = {"key": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    found = tf.data.TFRecordDataset(list(paths)).batch(BATCH).map(lambda batch: tf.io.parse_example(batch, spec))
    batches = [(batch["key"].numpy(), batch["label"].numpy()) for batch in found]
    keys = np.concatenate([of for of, _ in batches]).astype("S")
    images = np.array([key[:HASH] for key in keys.tolist()])
    copies = np.array([not key.endswith(ORIGINAL) for key in keys.tolist()])
    return images, np.concatenate([of for _, of in batches]), copies


def _ordered(images: np.ndarray, seed: int) -> np.ndarray:
    """Returns the keys of images in the order of a seed.

    For seed 0 it is their own order, which is that of a hash.
    """
    if not seed:
        return images
    return np.array(sorted(images.tolist(), key=lambda key: hashlib.sha256(b"%d %s" % (seed, key)).digest()))


def view(contract: Contract, directory: str | os.PathLike[str], share: Share) -> Contract:
    """Returns the contract with the counts that a training on a share sees.

    Shards must not be read by it.
    """
    return dataclasses.replace(contract, splits={**contract.splits, TRAIN_SPLIT: find(contract, directory, share)[0]})
