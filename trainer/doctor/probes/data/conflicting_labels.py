"""Checks the labels for equal images under different labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import PICTURES, Chart, Finding
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import state
from trainer.doctor.subject.sample import is_picture
from trainer.doctor.subject.subject import FOLDER, Subject

SHOWN = 5
ROWS = 0.01  # share of rows and sequences; a few words or columns may be equal by chance, and pictures are not


def contradictory(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds images of equal bytes under different labels, within and across splits.

    The bytes are those of the files of a folder, else those of the tensors.
    """
    seen: dict[bytes, dict[str, str]] = {}
    pictures: dict[str, object] = {}
    total = 0
    for digest, label, name, picture in _items(subject):
        if total % 256 == 0:
            clock.check()
        total += 1
        labels = seen.setdefault(digest, {})
        labels.setdefault(label, name)
        if len(labels) > 1 and len(pictures) < SHOWN:
            pictures[name] = picture
    several = [labels for labels in seen.values() if len(labels) > 1]
    pictured = subject.origin == FOLDER or any(is_picture(s.sample.images.shape[1:]) for s in subject.splits)
    if not several or (not pictured and len(several) < ROWS * total):
        return []
    groups = (" = ".join(f"{name} ({label})" for label, name in labels.items()) for labels in several)
    return [
        catalogue.found(
            "contradictory-duplicates",
            f"Of {total:,} images looked at: {listed(groups, SHOWN, '; ')}.",
            images=len(several),
            share=len(several) / total,
            impact=min(1.0, 2 * len(several) / total),
            charts=[Chart("images with several labels", PICTURES, pictures)],
        )
    ]


def _items(subject: Subject) -> Iterator[tuple[bytes, str, str, object]]:
    """Yields (digest, label, name, picture) of every image.

    Constant images are left out of a dataset's: they can be equal without being the same photo.
    """
    if subject.origin == FOLDER and subject.folder is not None:
        for photo in subject.folder.photos:
            yield bytes.fromhex(photo.digest), photo.label, photo.path, photo.small
        return
    for split in subject.splits:
        labels = state.answer_texts(subject, split.sample)
        for i, image in enumerate(split.sample.images):
            if image.min() != image.max():
                digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
                yield digest, labels[i], f"{split.name} {i}", image


PROBES = (Probe("equal images under different labels", contradictory, ("images",), 10, alone=True),)
