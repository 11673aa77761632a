"""Builds a subject from the doctor's options, each part within its time limit.

It reads the data, calls the user's functions and loads or builds the model.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines import contract as contracts
from pipelines.contract import Contract
from pipelines.contract.task import CLASSES, MULTI_LABEL, REGRESSION
from pipelines.core.errors import ConfigError, ShardmillError
from pipelines.core.files.urls import is_remote
from pipelines.options import config_file
from trainer import run_dir
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset as datasets
from trainer.doctor.clock import Clock
from trainer.doctor.config import DoctorConfig
from trainer.doctor.finding import Finding
from trainer.doctor.subject import data_forms, exceptions, folder, history, read_split, sample, user_functions
from trainer.doctor.subject.folder import Folder
from trainer.doctor.subject.history import History
from trainer.doctor.subject.read_split import NAMES
from trainer.doctor.subject.sample import Batch, Sample
from trainer.doctor.subject.subject import DATASET, FOLDER, PREPARED, Split, Subject
from trainer.models import build, keras_file
from trainer.tasks import kinds, pretrained_hint
from trainer.tasks.regression import standardized

FOLDER_SECONDS = 20.0
BATCH = 32
# The loss of a model that is not compiled, by kind of task, from whether the model answers logits.
_LOSSES: dict[str, Callable[[bool], keras.losses.Loss]] = {
    CLASSES: lambda logits: keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
    MULTI_LABEL: lambda logits: keras.losses.BinaryCrossentropy(from_logits=logits),
    REGRESSION: lambda logits: keras.losses.MeanSquaredError(),
}


def gather(config: DoctorConfig) -> Subject:
    """Reads everything that the options name.

    An exception from the user's code becomes a finding in `problems`.

    Raises:
      TrainerError, ContractError: an option names something that does not exist or cannot be used.
    """
    return subject_of(
        config.data,
        user_functions.Named(config.dataset, "--dataset") if config.dataset else None,
        _named_model(config.model),
        history.read(config.history) if config.history else None,
        config.deep,
    )


def subject_of(
    data: str = "",
    dataset: Any = None,
    model: Any = None,
    past: History | None = None,
    deep: bool = False,
) -> Subject:
    """Gathers a subject from objects instead of options, otherwise like `gather`.

    Args:
      data: folder of images or directory of a prepared dataset.
      dataset: data in a form that `data_forms.splits` takes, or a function that returns it.
      model: a Keras model, a function that returns one, the path of a .keras file or run, or a network's name.
      past: history of a past training: metric name -> one number per epoch.
      deep: True to use DEEPER times as many images and seconds.

    Raises:
      TrainerError, ContractError: as `gather`.
    """
    subject = Subject(deep=deep, history=past)
    run = _run(model)
    data = data or (_data_of(run) if run is not None and dataset is None else "")
    if data:
        subject = _with_data(subject, data, dataset is not None, model is not None)
    if run is not None:
        subject = _with_run(subject, run)
    elif model is not None:
        subject = _with_model(subject, model)
    return subject if dataset is None else _with_dataset(subject, dataset)


def _with_data(subject: Subject, data: str, as_reference: bool, model_given: bool) -> Subject:
    if is_remote(data) or os.path.isfile(os.path.join(data, contracts.FILE_NAME)):
        contract = contracts.load(data)
        subject = dataclasses.replace(subject, contract=contract, directory=data, labels=contract.labels)
        return subject if as_reference else _with_prepared(subject, contract, data)
    if not os.path.isdir(data):
        raise TrainerError(f"--data should be a folder of images or a prepared dataset. There is no folder {data!r}.")
    if model_given and not as_reference:
        raise TrainerError(
            f"{data!r} is a folder of images; how they become the model's input is not known. Give your input with "
            "--dataset, or prepare the folder with `python -m pipelines prepare`."
        )
    found = folder.scan(data, Clock(FOLDER_SECONDS * subject.times), sample.MAX_IMAGES * subject.times)
    subject = dataclasses.replace(subject, folder=found, directory=data, labels=found.labels)
    if as_reference:
        return subject
    train, validation = (_of_folder(found, names) for names in (("", "train"), ("validation", "test")))
    return dataclasses.replace(subject, origin=FOLDER, train=train, validation=validation)


def _of_folder(found: Folder, splits: tuple[str, ...]) -> Split | None:
    """Builds a split from a folder's photos, as small copies.

    It takes the first of the given splits that the folder has, and returns None if that one has no opened photos.
    """
    name = next((split for split in splits if split in found.counts), None)
    photos = [photo for photo in found.photos if photo.split == name]
    if not photos:
        return None
    ids = np.array([found.labels.index(photo.label) for photo in photos], np.int64)
    batch = Batch(np.stack([photo.small for photo in photos]), ids)
    total = sum(found.counts[str(name)].values())
    return Split(NAMES[name not in ("", "train")], Sample((batch,), ids, len(photos) == total),
                 counts=found.counts[str(name)])  # fmt: skip


def _with_prepared(subject: Subject, contract: Contract, directory: str) -> Subject:
    splits: list[Split | None] = []
    for name in ("train", _other_split(contract)):
        if name not in contract.splits or not contract.splits[name].records:
            splits.append(None)
            continue
        batches = datasets.load(directory, name, BATCH, shuffle=name == "train", seed=0)
        if contract.task.kind == REGRESSION:
            batches = batches.map(lambda images, numbers, *rest: (images, standardized(contract, numbers), *rest))
        # Of several labels an image, the counts by label do not add up to the images, so the probes count themselves.
        counts = contract.splits[name].stored if contract.task.kind == CLASSES else None
        found, problems = read_split.read(data_forms.of(batches), NAMES[name != "train"], subject.times, counts)
        subject = dataclasses.replace(subject, problems=(*subject.problems, *problems))
        splits.append(found)
    kind = contract.task.kind
    return dataclasses.replace(subject, origin=PREPARED, kind=kind, train=splits[0], validation=splits[1])


def _other_split(contract: Contract) -> str:
    others = [name for name in contract.splits if name != "train" and contract.splits[name].records]
    return "validation" if "validation" in others else (others or [""])[0]


def _with_dataset(subject: Subject, dataset: Any) -> Subject:
    name = user_functions.name_of(dataset)
    try:
        made = user_functions.value(dataset)
    except ShardmillError:
        raise
    except Exception as e:  # the user's code may raise any exception; the finding reports it
        return _with_problem(subject, exceptions.explain(e, f"calling {name}"))
    try:
        forms = data_forms.splits(made)
    except sample.DatasetError as e:
        raise TrainerError(f"{name} does not give data that the doctor can read: {e}.") from e
    splits: list[Split | None] = []
    for form, split in zip(forms, NAMES, strict=True):
        found, problems = read_split.read(form, split, subject.times) if form is not None else (None, [])
        subject = dataclasses.replace(subject, problems=(*subject.problems, *problems))
        splits.append(found)
    return dataclasses.replace(subject, origin=DATASET, train=splits[0], validation=splits[1])


def _with_problem(subject: Subject, finding: Finding) -> Subject:
    return dataclasses.replace(subject, problems=(*subject.problems, finding))


def _with_model(subject: Subject, given: Any) -> Subject:
    name = user_functions.name_of(given)
    try:
        model = _model(subject, given)
    except ShardmillError:
        raise
    except Exception as e:  # the user's code may raise any exception; the finding reports it
        return _with_problem(subject, exceptions.explain(e, f"building the model {name}"))
    if not isinstance(model, keras.Model):
        raise TrainerError(f"{name} should return a keras.Model. It returned a {type(model).__name__}.")
    return dataclasses.replace(subject, model=_compiled(model, subject.contract))


def _named_model(name: str) -> Any:
    """Interprets --model: a function, a path or a network's name, or None if empty."""
    return user_functions.Named(name, "--model") if ":" in name else name or None


def _model(subject: Subject, given: Any) -> Any:
    given = given.find() if isinstance(given, user_functions.Named) else given
    if isinstance(given, keras.Model):
        return given
    if callable(given):
        return _call(given, subject)
    if os.path.exists(given):
        return keras_file.load(given, compile=True)
    if subject.contract is None:
        raise TrainerError(
            f"--model should be module:function, a .keras file or the directory of a run. There is no file {given!r}; "
            "the names of networks need a prepared --data."
        )
    return build.build(given, subject.contract)


def _call(function: Callable[..., Any], subject: Subject) -> Any:
    """Calls a function that builds a model.

    It passes the contract if the function requires an argument, as the train command does.
    """
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    if not any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in needed):
        return function()
    if subject.contract is None:
        raise TrainerError(
            f"{user_functions.name_of(function)} takes an argument: give a prepared --data, whose contract it gets."
        )
    return function(subject.contract)


def _compiled(model: Any, contract: Contract | None) -> Any:
    """Compiles a model for the task of a contract, if it is not compiled yet.

    Functions for the train command may return a model that is not compiled. Models without a contract stay as they are.
    """
    if contract is not None and not model.compiled and model.built:
        try:
            logits = build.gives_logits(model, kinds.of(contract).activation)
        except TrainerError:
            return model
        model.compile("adam", _LOSSES[contract.task.kind](logits))
    return model


def _run(model: Any) -> run_dir.Run | None:
    return run_dir.finished(model) if isinstance(model, str | os.PathLike) and os.path.isdir(model) else None


def _data_of(run: run_dir.Run) -> str:
    """Returns the dataset that a run was trained on, or "" if it no longer exists."""
    try:
        data = str(config_file.read(run.config, TrainConfig)["data"])
    except (ConfigError, KeyError):
        return ""
    return data if os.path.isfile(os.path.join(data, contracts.FILE_NAME)) else ""


def _with_run(subject: Subject, run: run_dir.Run) -> Subject:
    trained = contracts.load(run.directory)
    model = _compiled(build.load(run.model), trained)
    past = subject.history or (history.read(str(run.history)) if Path(run.history).is_file() else None)
    labels = subject.labels or trained.labels
    kept = run_dir.kept_epoch(run) if subject.history is None else None
    few = pretrained_hint.few(TrainConfig(**config_file.read(run.config, TrainConfig)), trained)
    return dataclasses.replace(
        subject, model=model, trained=trained, history=past, kept=kept, labels=labels, few_images=few
    )
