"""Input: photos that were stretched so far that what is on them changed its shape."""

from __future__ import annotations

import json
import os

import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import folder
from trainer.doctor.subject.subject import PREPARED, Subject
from trainer.doctor.tools.match_images import FEWEST, pairs

SQUEEZED = 2.0  # an object's width against its height changes by more than this
SQUEEZED_SHARE = 0.1  # of the images; of 1,399 photos of dogs and cats, 0.6 % are so long or so high
MOST = 500  # sources of a prepared dataset whose headers are read
LEDGER = "ledger"  # see docs/dataset.md


def aspect(subject: Subject, clock: Clock) -> list[Finding]:
    """Of the photos that a dataset's images were made of, by --data or by a prepared dataset's ledger."""
    if subject.origin == PREPARED and subject.contract is not None:
        mode = subject.contract.resize.get("mode")
        if mode != "stretch":
            return []  # cropped or padded: shapes are kept
        height, width, _ = subject.contract.image_shape
        return _judge(_sources(subject, clock), height, width)
    sizes, shape = pairs(subject, clock).sizes, subject.splits[0].sample.shapes[0]
    if sizes is None or len(shape) != 3:
        raise NotApplicable("the sizes of the photos are not known: give the folder with --data")
    return _judge(sizes, shape[0], shape[1])


def _judge(sizes: np.ndarray, height: int, width: int) -> list[Finding]:
    """sizes: int64 (k, 2), width and height of the photos."""
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
    """Width and height of up to MOST photos of the ledger that are still there, from their headers."""
    found: list[tuple[int, int]] = []
    for path in _ledger(subject):
        if len(found) >= MOST or clock.over:
            break
        try:
            found.append(folder.size_of(path))
        except Exception:  # noqa: S112 - a photo that moved or that Pillow cannot open tells nothing here
            continue
    if len(found) < FEWEST:
        raise NotApplicable("the photos that the dataset was made of are not there any more")
    return np.array(found)


def _ledger(subject: Subject) -> list[str]:
    """Local paths of the photos of train, each once, in an order of hashes, as the records are."""
    paths: dict[str, None] = {}
    shards = subject.contract.splits["train"].shards if subject.contract and "train" in subject.contract.splits else ()
    for shard in shards:
        name = os.path.join(subject.directory, LEDGER, f"{shard.file}.jsonl")
        if "://" in name or not os.path.isfile(name) or len(paths) > 2 * MOST:
            break
        with open(name, encoding="utf-8") as file:
            for line in file:
                uri = str(json.loads(line).get("uri", ""))
                if "://" not in uri:
                    paths[uri] = None
    return list(paths)


PROBES = (Probe("aspect ratio of the photos", aspect, ("dataset",), 10),)
