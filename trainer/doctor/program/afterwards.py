"""Examines what a program did between and after its trainings.

It looks at the calls of evaluate and predict, at what the program does with the answers, and at layers that it freezes.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.text import listed
from trainer.doctor import catalogue
from trainer.doctor.finding import Finding
from trainer.doctor.probes.splits import train_validation_skew
from trainer.doctor.program import argmax_answers, compared_answers, fitted, unreset_metrics
from trainer.doctor.subject.subject import Subject
from trainer.doctor.tools import scores, tfdata_steps
from trainer.doctor.watching.places import Places
from trainer.doctor.watching.watcher import Watcher


@dataclasses.dataclass(frozen=True)
class Afterwards:
    """Looks back at a program that has ended.

    watcher: has seen it. subjects: of its examined trainings. places: give its lines. program: its file.
    code: its text.
    """

    watcher: Watcher
    subjects: Sequence[Subject]
    places: Places
    program: str
    code: str

    def ignored_flags(self) -> list[Finding]:
        """Finds layers that were frozen or unfrozen between two trainings."""
        if self.watcher.ignored_flags is None:
            return []
        place, flags = self.watcher.ignored_flags
        names = [f"{name}.trainable = {flag}" for name, flag in flags.items()]
        found = catalogue.found(
            "trainable-ignored",
            f"Since the fit before this one: {listed(names, 4)}. There is no compile between them.",
            layers=len(flags),
            done="unfrozen" if all(flags.values()) else "frozen" if not any(flags.values()) else "frozen or unfrozen",
        )
        return [dataclasses.replace(found, place="" if place is None else place.quoted)]

    def out_of_order(self) -> list[Finding]:
        """Finds answers of predict that are compared with labels of another order."""
        file = self.places.of(self.program, 1).file
        for data, place in self.watcher.predicted:
            told = ""
            if isinstance(data, tf.data.Dataset) and self.watcher.passed_by_program(data):
                if tfdata_steps.draws_anew(data):
                    told = "predict passes over it once, and the program again."
            elif getattr(data, "shuffle", False) and re.search(r"\.(classes|labels)\b", self.code):
                # an iterator of keras.preprocessing, whose labels are in the order of the files
                told = "The iterator has shuffle=True, and its classes are in the order of the files."
            if not told and place is not None and place.file == file and (how := compared_answers.shuffles(data)):
                compared = compared_answers.find(self.code, place.line)
                if compared is not None:
                    told = f"{how} Line {compared.line} compares the answers with {compared.labels}."
            if told:
                found = catalogue.found("answers-out-of-order", told + self._right_itself())
                return [dataclasses.replace(found, place="" if place is None else place.quoted)]
        return []

    def categories_apart(self) -> list[Finding]:
        """Finds categories of test rows that got other numbers than those of training."""
        rows = [(given.get("x"), given.get("y")) for _, given, _ in self.watcher.evaluations]
        rows += [(x, None) for x, _ in self.watcher.answered]
        for subject in self.subjects:
            for x, y in rows:
                found = self.watcher.codes.compare(subject.train, x, y, "test")
                if found:
                    return found
        return []

    def training_mode(self) -> list[Finding]:
        """Finds answers that the program asks of a model in training mode."""
        models = [subject.model for subject in self.subjects if subject.model is not None]
        line = functools.partial(self.places.of, self.program)
        return self.watcher.training_mode.find(self.code, models, line)

    def asked_otherwise(self) -> list[Finding]:
        """Finds images that predict gets in another form than those of training."""
        for subject in self.subjects:
            for model, (arrays, place) in self.watcher.asked.items():
                if subject.train is None or not _is_same(subject, model):
                    continue
                found = train_validation_skew.of_predict(subject.train, arrays)
                if found is not None:
                    return [dataclasses.replace(found, place="" if place is None else place.quoted)]
        return []

    def argmax(self) -> list[Finding]:
        """Finds an argmax over the answers of a model that has one output."""
        file = self.places.of(self.program, 1).file

        def has_one_output(lines: range) -> bool:
            shapes = [
                getattr(subject.model, "output_shape", None)
                for subject in self.subjects
                for call in self.watcher.calls(subject.model)
                if call.name == "predict" and call.place is not None
                if call.place.file == file and call.place.line in lines
            ]
            return bool(shapes) and all(isinstance(shape, tuple) and shape[1:] == (1,) for shape in shapes)

        line = argmax_answers.find(self.code, has_one_output)
        if line is None:
            return []
        place = self.places.of(self.program, line)
        found = catalogue.found("argmax-of-one-output", "The model has the output shape (batch, 1).")
        return [dataclasses.replace(found, place=place.quoted)]

    def unreset_metrics(self) -> list[Finding]:
        """Finds metrics of a loop of the program that are never set back."""
        told = unreset_metrics.find(self.code) if self.watcher.tape.loops or self.watcher.tape.unknown_loop else None
        if told is None:
            return []
        found = catalogue.found(
            "metrics-not-reset",
            f"{told.name}.result() is read after each pass, and {told.name}.reset_state() is never called.",
            name=told.name,
        )
        return [dataclasses.replace(found, place=self.places.of(self.program, told.line).quoted)]

    def spread_in_unknown(self) -> list[Finding]:
        """Finds labels that a loop without a model spreads over its outputs."""
        loop = self.watcher.tape.unknown_loop
        return [] if loop is None or loop.spread is None else [fitted.spread_finding(loop.spread)]

    def trained_on(self) -> list[Finding]:
        """Finds rows by which a model is judged and on which it was trained before."""
        seen, file = self.watcher.seen_rows, self.places.of(self.program, 1).file
        if seen.finding is not None:
            return [seen.finding]
        return [
            found
            for found, place in seen.of_predict
            if place is not None and place.file == file and compared_answers.find(self.code, place.line) is not None
        ][:1]

    def _right_itself(self) -> str:
        """Returns a sentence on what the doctor itself has scored of the only model."""
        known = scores.of(self.subjects[0]) if len(self.subjects) == 1 else ()
        last = known[-1:]
        return "".join(
            f" The doctor finds the model right on {score.accuracy:.1%} of {len(score.true):,} {score.split} images."
            for score in last
        )


def _is_same(subject: Subject, model: Any) -> bool:
    """Tells whether a model is that of a training, or has its final weights.

    A model that was saved and loaded again has them.
    """
    if model is subject.model:
        return True
    final = subject.training.final_weights if subject.training is not None else None
    weights = model.get_weights() if final else []
    return bool(weights) and len(weights) == len(final or ()) and all(map(np.array_equal, weights, final or ()))
