"""Reads the splits of the examined data into memory, each within its time limit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import Finding
from trainer.doctor.subject import data_forms, exceptions, sample
from trainer.doctor.subject.data_forms import IMAGES, LABELS, Form
from trainer.doctor.subject.subject import Split
from trainer.doctor.subject.training import ARRAYS

TRAIN_SECONDS, VALIDATION_SECONDS, SECOND_SECONDS = 15.0, 8.0, 6.0
SECOND_IMAGES = 512
NAMES = "train", "validation"


def read(
    form: Form,
    name: str,
    times: int = 1,
    counts: Mapping[str, int] | None = None,
    shuffled: bool | None = None,
    texts: bool = False,
) -> tuple[Split | None, list[Finding]]:
    """Reads two samples of a split; what fails becomes a finding.

    Args:
      name: train or validation.
      times: factor for the limits on images and seconds.
      counts: number of images of each class in the complete split, if it is known.
      shuffled: whether Keras shuffles the images itself in each epoch. None: as it does by default, which is with
        arrays.
      texts: whether text is no problem, because fit itself tells whether the model takes it. Its split is None.
    """
    form, problems = _labelled(form, name)
    if form.dataset is not None:
        spec = form.dataset.element_spec
        if isinstance(spec, tuple) and len(spec) > 1 and getattr(spec[1], "shape", None) == ():
            return None, [*problems, _unbatched(name, spec)]
    if form.held is not None:
        form.held.follow()
    seconds = (TRAIN_SECONDS if name == NAMES[0] else VALIDATION_SECONDS) * times
    most, second = sample.MAX_IMAGES * times, None
    try:
        labels = sample.MAX_LABELS if form.again else most  # what is read of a generator is kept, to give it back
        first = sample.draw(form.new_pass(), Clock(seconds), most, max_labels=labels)
        if not len(first):
            return None, [*problems, catalogue.found("dataset-empty", "The first pass ended before its first image.",
                                                     split=name)]  # fmt: skip
        if form.again:
            batches = max(1, SECOND_IMAGES // len(first.batches[0].x))
            second = sample.draw(itertools.islice(form.new_pass(), batches), Clock(SECOND_SECONDS))
    except sample.TextError as e:
        return None, [*problems, *([] if texts else [exceptions.explain(e, f"reading the {name} dataset")])]
    except Exception as e:  # the user's map functions, decoders and TensorFlow may raise any exception
        return None, [*problems, exceptions.explain(e, f"reading the {name} dataset")]
    if form.held is not None:
        problems += form.held.told(name)
        form.held.restore()
    by_keras = form.kind == ARRAYS if shuffled is None else shuffled
    return Split(name, first, second, form.dataset, counts, form.kind, by_keras), problems


def _labelled(form: Form, name: str) -> tuple[Form, list[Finding]]:
    """Turns a dataset of dictionaries into one of (images, labels).

    It returns the finding that Keras would not take the dictionaries as well.
    """
    spec = form.dataset.element_spec if form.dataset is not None else None
    if not isinstance(spec, dict):
        return form, []
    image, label = data_forms.key_of(spec, IMAGES), data_forms.key_of(spec, LABELS)
    if image is None or label is None:
        return form, []
    line = f".map(lambda d: (d[{image!r}], d[{label!r}]))"
    evidence = f"An element is a dictionary of {', '.join(map(repr, spec))}."
    told = catalogue.found("dataset-dictionary", evidence, split=name, line=line)
    return data_forms.of(form.dataset.map(lambda d: (d[image], d[label]))), [told]


def _unbatched(name: str, spec: Any) -> Finding:
    image = getattr(spec[0], "shape", spec[0])
    return catalogue.found(
        "dataset-unbatched",
        f"An element has an image of shape {image} and a label of shape {spec[1].shape}.",
        split=name,
    )
