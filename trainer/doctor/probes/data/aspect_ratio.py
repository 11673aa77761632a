"""Checks the input for photos with a strongly changed aspect ratio.

Such a resize changes the shapes of the objects in the photo.
"""

from __future__ import annotations

import itertools
import json
import os

import numpy as np

from pipelines.core.files.urls import is_remote
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import folder
from trainer.doctor.subject.subject import PREPARED, Subject
from trainer.doctor.tools.match_images import FEWEST, pairs

SQUEEZED = 2.0  # factor by which an object's ratio of width to height changes
SQUEEZED_SHARE = 0.1  # share of the images; of 1,399 photos of dogs and cats, 0.6 % are so wide or so high
MOST = 500  # sources of a prepared dataset whose headers are read
LEDGER = "ledger"  # see docs/dataset.md


def aspect(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds out whether the resize changed the aspect ratio of the photos too much.

    The sizes of the source photos come from --data, or from the ledger of a prepared dataset.
    """
    if subject.origin == PREPARED and subject.contract is not None:
        mode = subject.contract.resize.get("mode")
        if mode != "stretch":
            return []  # cropping and padding keep the shapes of objects
        height, width, _ = subject.contract.image_shape
        return _judge(_sources(subject, clock), height, width)
    sizes, shape = pairs(subject, clock).sizes, subject.splits[0].sample.shapes[0]
    if sizes is None or len(shape) != 3:
        raise NotApplicable("the sizes of the photos are not known: give the folder with --data")
    return _judge(sizes, shape[0], shape[1])


def _judge(sizes: np.ndarray, height: int, width: int) -> list[Finding]:
    """Compares the sizes of photos with the size of the resized images.

    Args:
      sizes: int64 (k, 2), width and height of the photos.
      height, width: of the resized images.
    """
    photos = sizes[:, 0] / sizes[:, 1]
    squeezed = float(np.mean(np.abs(np.log(photos / (width / height))) > np.log(SQUEEZED)))
    if squeezed < SQUEEZED_SHARE:
        return []
    low, middle, high = np.percentile(photos, [5, 50, 95])
    return [
        catalogue.found(
            "aspect-destroyed",
            f"{squeezed:.0%} of {len(photos)} photos looked at change their ratio of width to height by more "
            f"than {SQUEEZED:g} times: theirs are {low:.2f} to {high:.2f} (5 to 95 %, median {middle:.2f}), and all "
            f"become {width / height:.2f}.",
        )
    ]


def _sources(subject: Subject, clock: Clock) -> np.ndarray:
    """Reads width and height of up to MOST photos of the ledger from their headers.

    Photos that no longer exist are left out.

    Raises:
      NotApplicable: fewer than FEWEST photos can be read.
    """
    found = list(itertools.islice(folder.sizes_of(_ledger(subject), clock), MOST))
    if len(found) < FEWEST:
        raise NotApplicable("the photos that the dataset was made of no longer exist")
    return np.array(found)


def _ledger(subject: Subject) -> list[str]:
    """Returns the local paths of the photos of the train split, each once.

    They have the order of the records, which is an order of hashes.
    """
    paths: dict[str, None] = {}
    shards = subject.contract.splits["train"].shards if subject.contract and "train" in subject.contract.splits else ()
    for shard in shards:
        name = os.path.join(subject.directory, LEDGER, f"{shard.file}.jsonl")
        if is_remote(name) or not os.path.isfile(name) or len(paths) > 2 * MOST:
            break
        with open(name, encoding="utf-8") as file:
            for line in file:
                uri = str(json.loads(line).get("uri", ""))
                if not is_remote(uri):
                    paths[uri] = None
    return list(paths)


PROBES = (Probe("aspect ratio of the photos", aspect, ("dataset",), 10),)
