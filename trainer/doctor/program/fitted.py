"""Builds the subject of a training that was watched."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.subject import data_forms, exceptions, read_split, sample
from trainer.doctor.subject.data_forms import Form, Peeked
from trainer.doctor.subject.subject import DATASET, Split, Subject
from trainer.doctor.subject.training import ARRAYS, EVALUATE, FIT, ITERABLE, LOOP, PYDATASET, TFDATA, Place, Training
from trainer.doctor.tools import tfdata_steps
from trainer.doctor.tools.broadcasts import Spread
from trainer.doctor.watching import gradient_sums
from trainer.doctor.watching.watched_loop import Loop
from trainer.doctor.watching.watcher import Watcher


def peeked(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of fit with generators that can be read ahead."""
    changed = dict(arguments)
    for name in ("x", "validation_data"):
        if changed.get(name) is not None and data_forms.is_generator(changed[name]):
            changed[name] = Peeked(iter(changed[name]))
    return changed


def restored(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments with generators that begin where they stood."""
    return {name: value.restored() if isinstance(value, Peeked) else value for name, value in arguments.items()}


def changed_while_read(arguments: dict[str, Any]) -> list[Finding]:
    """Finds data of generators that have changed since they were read ahead."""
    splits = {"train": arguments.get("x"), "validation": arguments.get("validation_data")}
    return [found for name, data in splits.items() if isinstance(data, Peeked) for found in data.held.told(name)]


def forms(arguments: dict[str, Any]) -> tuple[Form | None, Form | None, int]:
    """Returns training and validation data of fit.

    The number is that of the images which validation_split takes.

    Raises:
      DatasetError: the data have a form that is not known.
    """
    x, y, weight, batch = (arguments.get(name) for name in ("x", "y", "sample_weight", "batch_size"))
    if x is None or (y is None and hasattr(x, "__array__")):  # an autoencoder's own train_step needs no labels
        return None, None, 0
    given = arguments.get("validation_data")
    share, held_out, validation = float(arguments.get("validation_split") or 0.0), 0, None
    if given is not None:
        validation = data_forms.of(*given) if isinstance(given, tuple | list) else data_forms.of(given)
    elif share and y is not None:
        parts = keras.tree.map_structure(np.asarray, tuple(part for part in (x, y, weight) if part is not None))
        count = len(keras.tree.flatten(parts)[0])
        first = math.floor(count * (1.0 - share))  # as Keras cuts: the last part, before it shuffles
        held_out = count - first
        seen, kept = (sample.choose(parts, part) for part in (slice(first), slice(first, count)))
        return _of_parts(seen, batch), _of_parts(kept, batch), held_out
    return data_forms.of(x, y, weight, batch), validation, held_out


def _of_parts(parts: tuple[Any, ...], batch: int | None) -> Form:
    x, y, weight = (*parts, None)[:3]
    return data_forms.of(x, y, weight, batch)


def describe(watcher: Watcher, model: Any, arguments: dict[str, Any], place: Place | None) -> Training:
    """Describes a call of fit, before its data are read."""
    compiled_at, metrics = watcher.compiled(model)
    callbacks = arguments.get("callbacks")
    callbacks = tuple(callbacks) if isinstance(callbacks, list | tuple) else ((callbacks,) if callbacks else ())
    weights, every = arguments.get("class_weight"), arguments.get("validation_freq")
    return Training(
        kind=FIT,
        place=place,
        compiled_at=compiled_at,
        built_at=watcher.built_at(model),
        layers_at=watcher.layers_at(model),
        epochs=int(arguments.get("epochs") or 1),
        initial_epoch=int(arguments.get("initial_epoch") or 0),
        steps_per_epoch=arguments.get("steps_per_epoch"),
        validation_steps=arguments.get("validation_steps"),
        validation_split=float(arguments.get("validation_split") or 0.0),
        validation_freq=every if isinstance(every, int) else 1,
        class_weight=None if weights is None else {int(label): float(w) for label, w in dict(weights).items()},
        callbacks=callbacks,
        callbacks_at=tuple(watcher.callback_at(callback) for callback in callbacks),
        flips=_flips(arguments.get("x")),
        metrics=metrics,
        own_train_step=getattr(type(model), "train_step", None) not in (None, keras.Model.train_step),
        judged=watcher.judged,
        calls=watcher.calls(model),
    )


def _flips(data: Any) -> tuple[str, ...]:
    """Returns the flips of an iterator that an ImageDataGenerator made."""
    generator = getattr(data, "image_data_generator", None)
    told = {"mirrored": "horizontal_flip", "upside down": "vertical_flip"}
    return tuple(flip for flip, option in told.items() if getattr(generator, option, False))


def with_data(
    training: Training, arguments: dict[str, Any], deep: bool
) -> tuple[Training, Split | None, Split | None, tuple[Finding, ...]]:
    """Reads the data of a call of fit, within limits.

    It returns the training with its form of data and number of steps, both splits, and what went wrong.
    """
    times, problems = Subject(deep=deep).times, []
    try:
        form, other, held_out = forms(arguments)
    except Exception as e:  # the data may be anything
        return training, None, None, (exceptions.explain(e, "reading the arguments of fit"),)
    del held_out
    told = arguments.get("shuffle", True)
    train = validation = None
    if form is not None:
        shuffled = form.kind == ARRAYS and bool(told)
        train, found = read_split.read(form, "train", times, shuffled=shuffled, texts=True)
        if any(problem.id == "sizes-differ" for problem in found):
            train = _one_by_one(form, times)
        problems += found
        training = dataclasses.replace(training, form=form.kind, **_sizes(form, train, arguments))
        if form.kind in (ARRAYS, PYDATASET):
            training = dataclasses.replace(training, shuffle=bool(told))
        weight = arguments.get("sample_weight")
        if weight is not None and form.samples is not None:
            training = dataclasses.replace(training, sample_weight=np.asarray(weight)[: form.samples])
    if other is not None:
        validation, found = read_split.read(other, "validation", times, shuffled=False, texts=True)
        problems += found
        training = dataclasses.replace(training, validation_form=other.kind)
    return training, train, validation, tuple(problems)


def _one_by_one(form: Form, times: int) -> Split | None:
    """Reads images of several sizes, which cannot be batched, each by itself."""
    for step in tfdata_steps.steps(form.dataset) if form.dataset is not None else ():
        if step.kind == "Batch":
            return read_split.read(data_forms.of(step.source.batch(1)), "train", times, shuffled=False)[0]
    return None


def _sizes(form: Form, train: Split | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields batch_size, samples and steps of a Training."""
    batch = (int(arguments.get("batch_size") or data_forms.BATCH)) if form.kind == ARRAYS else None
    samples, steps = form.samples, arguments.get("steps_per_epoch")
    seen = train.sample if train is not None else None
    if samples is None and seen is not None and seen.complete:
        samples = len(seen)
    if steps is None and batch and samples is not None:
        steps = math.ceil(samples / batch)
    if steps is None and form.kind == TFDATA:
        count = int(form.dataset.cardinality())
        steps = count if count >= 0 else None
    if steps is None and form.kind == PYDATASET:
        count = arguments["x"].num_batches
        steps = None if count is None else int(count)
    if steps is None and seen is not None and seen.complete:
        steps = len(seen.batches)
    return {"batch_size": batch, "samples": samples, "steps": None if steps is None else int(steps)}


def of_loop(watcher: Watcher, loop: Loop, deep: bool) -> Subject:
    """Builds the subject of a loop that the program writes itself.

    The model gets its first weights back. It is compiled with the loss and the optimizer of the loop, for the probes
    that need them.
    """
    model = loop.model
    described = dataclasses.replace(
        describe(watcher, model, {}, loop.place),
        kind=loop.kind,
        form=ITERABLE,
        in_turn=len(watcher.tape.loops) > 1,
        in_training=True in loop.modes if loop.modes else None,
    )
    if loop.kind == LOOP:
        described = dataclasses.replace(described, compiled_at=None)
    final = model.get_weights()
    if loop.first_weights and len(loop.first_weights) == len(final):
        model.set_weights(loop.first_weights)
    own = loop.kind == LOOP or not getattr(model, "compiled", False)  # compile may have been called for nothing
    if own and isinstance(loop.loss, keras.losses.Loss):
        optimizer = type(loop.optimizer).from_config(loop.optimizer.get_config())
        with watcher.inside():
            model.compile(optimizer, loop.loss)
    train, problems = None, list[Finding]()
    if loop.elements:
        form = dataclasses.replace(data_forms.of(list(loop.elements)), again=False)
        train, problems = read_split.read(form, "train", Subject(deep=deep).times, shuffled=False)
    if loop.spread is not None:
        problems = [*problems, spread_finding(loop.spread)]
    if loop.summed >= gradient_sums.LEAST:
        problems = [*problems, gradient_sums.finding(loop.summed, loop.place)]
    samples = {"first_weights": loop.first_weights, "final_weights": final, "metrics": described.metrics}
    training = dataclasses.replace(described, **samples)
    return Subject(
        origin=DATASET, train=_open_ended(train), model=model, training=training, deep=deep, problems=tuple(problems)
    )


def spread_finding(seen: Spread) -> Finding:
    """Builds the finding on labels that were spread over the outputs."""
    images = seen.outputs[0]
    finding = catalogue.found(
        "loss-broadcast",
        f"What comes from the model has the shape {seen.outputs} and the other side {seen.other}: the result is "
        f"({images}, {images}).",
        case="in-loop",
    )
    return dataclasses.replace(finding, place=seen.place.quoted if seen.place is not None else "")


def _open_ended(split: Split | None) -> Split | None:
    """Marks a sample as incomplete: the loop may have had more batches than were kept."""
    return None if split is None else dataclasses.replace(
        split, sample=dataclasses.replace(split.sample, complete=False, ended=False)
    )  # fmt: skip


def of_evaluation(watcher: Watcher, model: Any, arguments: dict[str, Any], place: Place | None, deep: bool) -> Subject:
    """Builds the subject of a program that only evaluates a model."""
    training = dataclasses.replace(describe(watcher, model, {}, place), kind=EVALUATE)
    try:
        form = data_forms.of(*(arguments.get(name) for name in ("x", "y", "sample_weight", "batch_size")))
    except Exception as e:  # the data may be anything
        problem = exceptions.explain(e, "reading the arguments of evaluate")
        return Subject(origin=DATASET, model=model, training=training, deep=deep, problems=(problem,))
    if not form.again:
        return Subject(origin=DATASET, model=model, training=training, deep=deep)  # the pass has used it up
    split, problems = read_split.read(form, "validation", Subject(deep=deep).times, shuffled=False)
    training = dataclasses.replace(training, validation_form=form.kind)
    return Subject(
        origin=DATASET, validation=split, model=model, training=training, deep=deep, problems=tuple(problems)
    )
