"""Looks at the range of values that networks of images get in each training.

A program may train several times, as one that trains a backbone first and a head on it then. Only some trainings are
examined in full, but each line of fit is looked at here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding, NotApplicable
from trainer.doctor.probes.model import input_range
from trainer.doctor.program import fitted
from trainer.doctor.subject import sample
from trainer.doctor.subject.subject import DATASET, Split, Subject
from trainer.doctor.subject.training import Place
from trainer.doctor.tools import first_weights, keras_applications

IMAGES = 64
READ_SECONDS, LOOK_SECONDS = 3.0, 20.0
MOST_LINES = 4  # of a program that are looked at
OTHER = 8.0  # ratio of the deviations; 0..1 and -1..1 are 2 apart, and 0..255 is 127 times -1..1


@dataclasses.dataclass(frozen=True)
class Seen:
    """Holds what a training gives to a network.

    given: the images of the dataset. values: what reaches the first weights.
    """

    place: Place | None
    given: np.ndarray
    values: np.ndarray

    @property
    def told(self) -> str:
        """Returns the ranges in words."""
        ends = [f"{part.min():.4g}..{part.max():.4g}" for part in (self.given, self.values)]
        return ends[0] if ends[0] == ends[1] else f"{ends[0]}, of which {ends[1]} reaches the first weights"


class Backbones:
    """Remembers what each network got in the trainings so far."""

    def __init__(self) -> None:
        self._lines: set[str] = set()
        self._seen: list[tuple[Any, Seen]] = []  # a network, and what it got

    def look(self, model: Any, arguments: dict[str, Any], place: Place | None, read: Split | None) -> list[Finding]:
        """Returns what is wrong with the range of a training, before its first step.

        Args:
          read: its images, if they were read. The probes then look at the range that the network was made for, too.
        """
        if str(place) in self._lines or len(self._lines) >= MOST_LINES or not getattr(model, "built", False):
            return []
        self._lines.add(str(place))
        networks = networks_of(model)
        if not networks:
            return []
        split = read or _read(arguments)
        if split is None:
            return []
        images = split.sample.images[:IMAGES].astype(np.float32)
        if images.ndim != 4 or not np.isfinite(images).all():
            return []
        front = first_weights.look(model, images)
        found = self._compared(networks, Seen(place, images, front.values)) if front.known else []
        if not found and read is None:
            try:
                subject = Subject(origin=DATASET, train=split, model=model)
                found = list(input_range.network_range(subject, Clock(LOOK_SECONDS)))
            except NotApplicable:
                return []
        at = "" if place is None else place.quoted
        return [dataclasses.replace(finding, place=at) for finding in found]

    def _compared(self, networks: list[Any], seen: Seen) -> list[Finding]:
        """Compares what the networks get with what they got in a training before."""
        found: list[Finding] = []
        for network in networks:
            for other, before in self._seen:
                ours, theirs = float(before.values.std()), float(seen.values.std())
                if found or min(ours, theirs) <= 0 or 1 / OTHER < theirs / ours < OTHER:
                    continue
                if network is not other and not _have_one_origin(network, other):
                    continue
                where = "" if before.place is None else f" at {before.place}"
                found.append(
                    catalogue.found(
                        "splits-differ-normalization",
                        f"The training{where} gives {before.told}; this one gives {seen.told}.",
                        case="of-fits",
                        network=_name(network),
                    )
                )
        self._seen += [(network, seen) for network in networks]
        return found


def networks_of(model: Any) -> list[Any]:
    """Returns the networks that begin a model.

    They are those that are nested in it, and the model itself, if the first weights of the model are theirs.
    """
    first = _first_weighted(model)
    nested = [*(layer for layer in getattr(model, "layers", ()) if isinstance(layer, keras.Model)), model]
    return [network for network in nested if first is not None and first is _first_weighted(network)]


def _first_weighted(model: Any) -> Any:
    return next((layer for layer in first_weights.flat_layers(model) if first_weights.has_weights(layer)), None)


def _have_one_origin(network: Any, other: Any) -> bool:
    """Tells whether one of two networks got the weights of the other, as by a file.

    Those of the first layer, which are drawn at random, are equal then.
    """
    ours, theirs = (_first_weighted(part).get_weights() for part in (network, other))
    return len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _name(network: Any) -> str:
    family = keras_applications.of(network)
    return str(network.name) if family is None else family.family


def _read(arguments: dict[str, Any]) -> Split | None:
    """Reads the first images of a call of fit; None where that fails."""
    try:
        form, _, _ = fitted.forms(arguments)
        if form is None:
            return None
        first = sample.draw(form.new_pass(), Clock(READ_SECONDS), IMAGES, max_labels=IMAGES)
    except Exception:  # the data may be anything; fit tells what is wrong with them
        return None
    return Split("train", first, dataset=form.dataset, form=form.kind) if len(first) else None
