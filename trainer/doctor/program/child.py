"""Executes a user's program in this process, and examines each of its trainings.

`launch` starts it, in a process of its own. The answer is a pickled Report beside the spec.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import importlib
import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue, run_probes
from trainer.doctor.finding import Finding
from trainer.doctor.output import page
from trainer.doctor.output import text as report_text
from trainer.doctor.output.text import Report
from trainer.doctor.probes import registry
from trainer.doctor.program import fitted, located, old_keras, planned, spec, tested
from trainer.doctor.program.afterwards import Afterwards
from trainer.doctor.program.backbones import Backbones
from trainer.doctor.program.spec import Spec
from trainer.doctor.proof import Proof
from trainer.doctor.prove import trial
from trainer.doctor.subject import exceptions, sample
from trainer.doctor.subject.subject import DATASET, Split, Subject
from trainer.doctor.subject.training import LOOP, Place, Training
from trainer.doctor.watching import category_codes, training_mode
from trainer.doctor.watching.places import Places
from trainer.doctor.watching.watched_loop import Loop
from trainer.doctor.watching.watcher import Watcher

TRAIN_SECONDS, LATER_SECONDS = 15.0, 5.0  # of training: the first of a line, and the others
AFTER_SECONDS = 30.0  # for the program to end after a training
LOOP_SECONDS = 20.0  # of a loop that the program writes itself
LOOP_STEPS = 64  # at least, unless LOOP_SECONDS pass before
MOST_EXAMINED = 2  # trainings that are examined in full; of one line only the first
MORE_UNTIL = 45.0  # seconds after the first training began, in which another one is still examined in full

# What is no fault of a training that another one follows, such as the first stage of two.
OF_THE_LAST = ("loss-not-settled", "few-steps")
# What a program calls to judge a model itself; the second only after a training, since a backbone is called so, too.
JUDGES = re.compile(r"\.(evaluate|predict|predict_on_batch|test_on_batch)\(")
ASKS = re.compile(r"\.fit\(.*\btraining\s*=\s*False\b", re.DOTALL)
OF_PAIRS = ("labels-move", "labels-shuffled")  # which two shuffles before a zip cause


class Ended(BaseException):
    """Ends the program: it had its time, or has shown what the checks need.

    It is no Exception, so that the program does not handle it.
    """


class Cut(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.monotonic() + seconds
        self.cut = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the training after a step."""
        del batch, logs
        if time.monotonic() > self._end:
            self.model.stop_training = self.cut = True

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the validation of a training that has ended."""
        del batch, logs
        if time.monotonic() > self._end:
            self.model.stop_evaluating = self.cut = True


@dataclasses.dataclass
class Examination:
    """Examines the trainings of one program.

    subjects: of each examined training.
    trainings: all, in order; also those that were not examined.
    examined: is called with the report of each examined training.
    """

    spec: Spec
    places: Places
    subjects: list[Subject] = dataclasses.field(default_factory=list)
    reports: list[Report] = dataclasses.field(default_factory=list)
    trainings: list[Training] = dataclasses.field(default_factory=list)
    problems: list[Finding] = dataclasses.field(default_factory=list)
    ranges: list[Finding] = dataclasses.field(default_factory=list)  # what networks of images get
    examined: Callable[[Report], None] | None = None
    may_ask: bool = False  # with training=True outside of a tape
    began: float = 0.0
    reached: float | None = None
    begun: int = 0  # trainings
    turn: Any = dataclasses.field(default_factory=threading.RLock)  # to examine; a program may train in many threads

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.watcher = Watcher(self.places, self.on_fit, self.end_loop)
        self.backbones = Backbones()

    # ---- while the program runs

    def on_fit(self, model: Any, arguments: dict[str, Any], run: Callable[[dict[str, Any]], Any]) -> Any:
        """Stands in for Model.fit: reads the data, trains for a while and examines."""
        place = self.places.of_caller()
        self._reach()
        with self.turn, _no_alarm(), self.watcher.inside(), _eagerly(False):
            examine = self._is_new(place)
            self.begun += 1
            divided = self.watcher.folders.fitted(model, arguments.get("x"), arguments.get("validation_data"))
            arguments = fitted.peeked(arguments)
            self.watcher.seen_rows.begin(model, arguments, place)
            training = dataclasses.replace(fitted.describe(self.watcher, model, arguments, place), number=self.begun)
            subject = Subject(origin=DATASET, model=model, training=training, deep=self.spec.deep)
            if examine:
                training, train, validation, problems = fitted.with_data(training, arguments, self.spec.deep)
                problems = (*problems, *divided, *self._words_apart(train, validation), *self._joined())
                subject = dataclasses.replace(
                    subject, train=train, validation=validation, training=training, problems=problems
                )
                _build(model, subject)
            self.ranges += self.backbones.look(model, arguments, place, subject.train)
        state = _State(model)
        cut = Cut(TRAIN_SECONDS if examine else LATER_SECONDS)
        given = fitted.restored(arguments)
        if not self.spec.full:
            given["callbacks"] = [*training.callbacks, cut]
        try:
            with _no_alarm(), _eagerly(False):
                history = run(given)
        except Exception as e:
            self.trainings.append(training)
            told = exceptions.explain(e, "training")
            if examine:
                known = {problem.id for problem in subject.problems}
                new = () if told.id in known else (dataclasses.replace(told, place=place.quoted if place else ""),)
                with self.turn, _no_alarm(), self.watcher.inside(), _eagerly(False):
                    self._examine(dataclasses.replace(subject, problems=(*subject.problems, *new)))
            raise
        self.watcher.seen_rows.end(model, arguments)
        training = dataclasses.replace(training, **_what_ran(history, cut, state, model))
        self.trainings.append(training)
        if examine:
            problems = (*subject.problems, *fitted.changed_while_read(arguments))
            with self.turn, _no_alarm(), self.watcher.inside(), _eagerly(False):
                past = training.history if training.whole and training.history else None
                with state.of_before(model, not training.whole or not _finite(model)):
                    self._examine(dataclasses.replace(subject, training=training, history=past, problems=problems))
        self._let_end(AFTER_SECONDS)
        return history

    def _joined(self) -> list[Finding]:
        """Returns the finding on rows that pandas joined with others."""
        return [] if self.watcher.joined.finding is None else [self.watcher.joined.finding]

    def _words_apart(self, train: Split | None, validation: Split | None) -> list[Finding]:
        """Finds words, categories or numbers that validation has otherwise than training."""
        if validation is None:
            return []
        seen = validation.sample
        return [
            *tested.apart(self.watcher, train, validation),
            *self.watcher.codes.compare(train, seen.inputs, seen.targets, validation.name),
        ]

    def end_loop(self, loop: Loop) -> None:
        """Ends the program once its own loop has shown enough batches.

        One that may ask its model with training=True later is let go on for LOOP_SECONDS.
        """
        self._reach()
        if self.spec.full:
            return
        passed = time.monotonic() - loop.started
        if passed > LOOP_SECONDS or (has_enough(loop) and not self.may_ask):
            raise Ended("its training loop was ended after what the checks need")

    def _reach(self) -> None:
        """Notes that the program has reached a training.

        `launch` counts the time from here.
        """
        if self.reached is None:
            self.reached = time.monotonic()
            Path(self.spec.folder, spec.REACHED).touch()
            if not self.spec.full:
                self._let_end(LOOP_SECONDS + AFTER_SECONDS)

    def _let_end(self, seconds: float) -> None:
        if not self.spec.full:
            signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)

    def _is_new(self, place: Place | None) -> bool:
        """Tells whether a training is to be examined in full.

        Whoever watches in a notebook wants to see each of them.
        """
        if self.examined is not None:
            return True
        lines = {str(subject.training.place) for subject in self.subjects if subject.training is not None}
        in_time = not self.subjects or time.monotonic() - (self.reached or 0.0) < MORE_UNTIL
        return len(lines) < MOST_EXAMINED and str(place) not in lines and in_time

    def _examine(self, subject: Subject) -> None:
        report = run_probes.run(subject, registry.all_probes())
        apart = "; ".join(
            place.quoted for place in self.watcher.shuffled_apart(subject.train and subject.train.dataset)
        )
        findings = [
            dataclasses.replace(finding, place=apart) if finding.id in OF_PAIRS and apart else finding
            for finding in report.findings
        ]
        found = located.with_places(findings, subject.training)
        self.subjects.append(subject)
        self.reports.append(dataclasses.replace(report, findings=tuple(found)))
        if self.examined is not None:
            self.examined(self.reports[-1])

    # ---- after it has ended

    def finish(self, code: str, variables: dict[str, Any], error: BaseException | None) -> Report:
        """Examines what has not been examined yet, and returns one report of all."""
        ended = str(error) if isinstance(error, Ended) else ""
        with self.watcher.inside(), _eagerly(False):
            for loop in list(self.watcher.tape.loops.values())[: MOST_EXAMINED - len(self.subjects)]:
                subject = fitted.of_loop(self.watcher, loop, self.spec.deep)
                if subject.training is not None:
                    numbered = dataclasses.replace(subject.training, number=len(self.trainings) + 1)
                    self.trainings.append(numbered)
                    subject = dataclasses.replace(subject, training=numbered)
                self._examine(subject)
            unknown = self.watcher.tape.unknown_loop
            if unknown is not None:
                self.trainings.append(Training(LOOP, unknown.place, number=len(self.trainings) + 1))
            if not self.subjects and self.watcher.evaluations:
                model, arguments, place = self.watcher.evaluations[-1]
                self._examine(fitted.of_evaluation(self.watcher, model, arguments, place, self.spec.deep))
            stopped = self._stopped(error, code)
            if not self.subjects and stopped:
                subject_planned = planned.subject(self.watcher, code, self.spec.program, variables, self.spec.deep)
                if subject_planned is not None:
                    self._examine(subject_planned)
        apart, doubts = self._tested()
        after = Afterwards(self.watcher, self.subjects, self.places, self.spec.program, code)
        report = self._report(
            [*self._old(code, stopped), *after.ignored_flags(), *stopped, *after.out_of_order(), *self._joined(),
             *(after.categories_apart() or apart), *after.training_mode(), *after.asked_otherwise(), *after.argmax(),
             *self._first_range(), *after.spread_in_unknown(), *after.trained_on(), *self._divided_apart(),
             *after.unreset_metrics()],
            ended, doubts,
        )  # fmt: skip
        return report if not self.spec.prove else dataclasses.replace(report, proof=self._proof(report))

    def _proof(self, report: Report) -> Proof:
        """Trains with the remedy of the first finding, and without it.

        Both begin as the program did, before its training.
        """
        by_subject = [
            (subject, {finding.id for finding in own.findings})
            for subject, own in zip(self.subjects, self.reports, strict=True)
        ]
        for first in report.findings[:1]:
            for subject, known in by_subject:
                if first.id not in known:
                    continue
                weights = subject.training.first_weights if subject.training is not None else None
                if weights and len(weights) == len(subject.model.get_weights()):
                    subject.model.set_weights(weights)
                with self.watcher.inside(), _eagerly(False):
                    return trial.prove(subject, [f for f in report.findings if f.id in known], self._read)
        return Proof(passed=tuple((finding.id, "it is about no training") for finding in report.findings))

    def _read(self, file: str) -> str | None:
        """Returns the text of a file of the user; None for a notebook.

        A patch knows no cells.
        """
        path = Path(self.spec.here, file)
        if file.endswith(".ipynb") or not path.is_file():
            return None
        return path.read_text(encoding="utf-8-sig")

    def _stopped(self, error: BaseException | None, code: str) -> list[Finding]:
        """Returns the finding for an exception that ended the program."""
        del code
        if error is None or (isinstance(error, Ended) and self.reached is not None):
            return []
        place = self.places.of_error(error)
        at = "" if place is None else f" at {place.quoted}"
        if isinstance(error, Ended):
            seconds = time.monotonic() - self.began
            told = catalogue.found("program-endless", f"After {seconds:.0f} s it stood{at}.")
        elif isinstance(error, EOFError) and place is not None and "input" in place.code:
            told = catalogue.found("program-waits", f"It stops{at}.")
        elif isinstance(error, SystemExit):
            if self.reached is not None or error.code in (None, 0):
                return []
            told = catalogue.found("program-raises", f"It ends by sys.exit({error.code!r}){at}.", stage="running")
        elif self.watcher.metrics_as_weights is not None:
            place, names = self.watcher.metrics_as_weights
            told = catalogue.found("metrics-as-loss-weights", f"compile gets {names!r} as loss_weights.", names=names)
        else:
            told = exceptions.explain(error, "running the program")
        if any(told.evidence.partition("(at ")[2] == f.evidence.partition("(at ")[2] and told.id == f.id
               for report in self.reports for f in report.findings):  # fmt: skip
            return []
        return [dataclasses.replace(told, place=place.quoted if place else "")]

    def _divided_apart(self) -> list[Finding]:
        """Returns the finding on a folder of evaluate, if none on that of fit says it."""
        known = {finding.id for report in self.reports for finding in report.findings}
        found = self.watcher.folders.finding
        return [] if found is None or found.id in known else [found]

    def _tested(self) -> tuple[list[Finding], list[str]]:
        """Examines data that evaluate gets, and what it reported."""
        with self.watcher.inside(), _eagerly(False):
            return tested.examine(self.watcher, self.subjects, self.spec.deep)

    def _first_range(self) -> list[Finding]:
        """Returns the first finding on the range of a training that is not examined."""
        known = {finding.id for report in self.reports for finding in report.findings}
        return [finding for finding in self.ranges if finding.id not in known][:1]

    def _old(self, code: str, stopped: list[Finding]) -> list[Finding]:
        """Returns the finding on names that Keras does not know any more.

        It replaces the exception that such a line ended with.
        """
        old = old_keras.find(code, self.spec.program, self.places)
        if not old:
            return []
        lines = {one.place.quoted for one in old}
        stopped[:] = [finding for finding in stopped if finding.place not in lines]
        listed = "; ".join(f"{one.place} {one.name} -> {one.today}" for one in old)
        return [
            dataclasses.replace(
                catalogue.found("old-keras", f"{listed}.", names=len(old), today=old[0].today, name=old[0].name),
                place=old[0].place.quoted,
            )
        ]

    def _report(self, first: list[Finding], ended: str, doubts: list[str]) -> Report:
        """Joins the reports of all trainings, and doubts about what evaluate reported."""
        findings, seen = list(first), {finding.id for finding in first}
        for subject, report in zip(self.subjects, self.reports, strict=True):
            last = subject.training is None or subject.training.number >= len(self.trainings)
            findings += [f for f in report.findings if f.id not in seen and (last or f.id not in OF_THE_LAST)]
            seen |= {finding.id for finding in report.findings}
        checked = {name: "" for report in self.reports for name in report.checked}
        not_checked = {name: why for report in self.reports for name, why in report.not_checked if name not in checked}
        about = [*self.spec.notes, *self._about(), *(line for report in self.reports for line in report.about)]
        if ended:
            about.append(f"The program did not run to its end: {ended}.")
        if not self.reports:
            not_checked["training"] = _unwatched(self.watcher)
        made = report_text.build(
            findings, checked=tuple(checked), not_checked=tuple(not_checked.items()), about=tuple(about),
            seconds=time.monotonic() - self.began, doubts=tuple(doubts),
        )  # fmt: skip
        if len(self.reports) != 1:
            return made
        own = self.reports[0]
        return dataclasses.replace(
            own, about=made.about, findings=made.findings, seconds=made.seconds, doubts=(*own.doubts, *made.doubts)
        )

    def _about(self) -> list[str]:
        lines = []
        examined = {subject.training.number for subject in self.subjects if subject.training is not None}
        for training in self.trainings:
            where = "" if training.place is None else f" at {training.place}"
            ran = "" if training.kind != "fit" else (
                f", {training.epochs} epochs" if training.whole
                else f", {training.epochs} epochs, cut short after {training.epochs_run}"
            )  # fmt: skip
            known = training.number in examined
            lines.append(f"training {training.number}: {training.kind}{where}{ran}" + ("" if known else ", noted only"))
        return lines if len(lines) < 6 else [*lines[:3], f"... {len(lines) - 4} more trainings ...", lines[-1]]


def has_enough(loop: Loop) -> bool:
    """Tells whether a loop has shown enough batches and steps."""
    return loop.full and loop.steps >= LOOP_STEPS


def _unwatched(watcher: Watcher) -> str:
    """Returns why no training was seen.

    It tells by a loop without a model, or by the libraries that the program loaded.
    """
    if watcher.tape.unknown_loop is not None:
        return "the loop calls no Keras model: the program puts layers or variables together itself"
    if watcher.tape.taped_at is not None:
        return f"no optimizer of Keras takes the gradients of the tape at {watcher.tape.taped_at}"
    others = {"tf_keras": "tf_keras (Keras 2)", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn",
              "tensorflow.compat.v1": "TensorFlow 1"}  # fmt: skip
    found = [name for module, name in others.items() if module in sys.modules]
    loaded = f"; it loaded {', '.join(found)}, which is not watched" if found else ""
    return f"the program called neither fit, train_on_batch nor evaluate of Keras, nor a GradientTape loop{loaded}"


class _State:
    """Holds the weights of a model and of its optimizer before a training."""

    def __init__(self, model: Any) -> None:
        self.weights = model.get_weights() if getattr(model, "built", False) else None
        self._optimizer = {name: np.array(variable) for name, variable in _optimizer_variables(model)}

    @contextlib.contextmanager
    def of_before(self, model: Any, wanted: bool) -> Any:
        """Gives the model the weights of before, if wanted, for the time of a block."""
        now = _State(model)
        if wanted:
            self._set(model)
        try:
            yield
        finally:
            now._set(model)

    def _set(self, model: Any) -> None:
        if self.weights is not None and len(self.weights) == len(model.get_weights()):
            model.set_weights(self.weights)
        for name, variable in _optimizer_variables(model):
            if name in self._optimizer:
                variable.assign(self._optimizer[name])
            elif name[0].endswith("/dynamic_scale"):  # of a LossScaleOptimizer, the only one that does not begin at 0
                variable.assign(model.optimizer.initial_scale)
            else:
                variable.assign(np.zeros(variable.shape, np.array(variable).dtype))  # as built by the first step


def _optimizer_variables(model: Any) -> list[tuple[tuple[str, int], Any]]:
    """Returns the variables of a model's optimizer with their paths.

    The first step makes more of them, and not behind the others where one optimizer wraps another.
    """
    variables = getattr(getattr(model, "optimizer", None), "variables", ())
    paths = [str(getattr(variable, "path", "")) for variable in variables]
    return [((path, paths[:n].count(path)), v) for n, (path, v) in enumerate(zip(paths, variables, strict=True))]


def _build(model: Any, subject: Subject) -> None:
    """Builds a model by its first batch, so that its first weights are known.

    What fails here fails in fit again, which tells it.
    """
    if not getattr(model, "built", False) and subject.train is not None:
        with contextlib.suppress(Exception):
            model(sample.choose(subject.train.sample.inputs, slice(1)), training=False)


def _what_ran(history: Any, cut: Cut, state: _State, model: Any) -> dict[str, Any]:
    """Returns the fields of a Training on what the doctor let run."""
    values = getattr(history, "history", None) or {}
    columns = {str(name): tuple(float(v) for v in column) for name, column in values.items() if _numbers(column)}
    ran = max(map(len, columns.values()), default=0)
    return {
        "whole": not cut.cut,
        "epochs_run": max(0, ran - cut.cut),
        "history": columns,
        "first_weights": state.weights,
        "final_weights": model.get_weights(),
    }


def _finite(model: Any) -> bool:
    """Tells whether all weights are finite.

    Those of a training that diverged hide its cause.
    """
    return all(np.isfinite(weight).all() for weight in model.get_weights() if weight.dtype.kind == "f")


def _numbers(column: Any) -> bool:
    return isinstance(column, list) and all(np.ndim(value) == 0 for value in column)


@contextlib.contextmanager
def _no_alarm() -> Any:
    """Stops the clock of the program while the doctor works."""
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextlib.contextmanager
def _eagerly(wanted: bool) -> Any:
    before = tf.config.functions_run_eagerly()
    if before == wanted:
        yield
        return
    tf.config.run_functions_eagerly(wanted)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def main(folder: str) -> int:
    """Executes what the spec of a folder names, and writes the answer beside it."""
    given = spec.read(folder)
    stack = open(Path(folder, spec.STACK), "w", encoding="utf-8")  # noqa: SIM115 - stays open to the end
    faulthandler.register(signal.SIGUSR1, file=stack)
    places = Places(given.copies, given.here, {given.program: given.named} if given.named.endswith(".ipynb") else {})
    examination = Examination(given, places)
    code = Path(given.program).read_text(encoding="utf-8-sig")
    variables, error = _run(examination, code)
    report = examination.finish(code, variables, error)
    subject = examination.subjects[0] if examination.subjects else Subject()
    html = page.render(subject, report) if given.html else ""
    plain = tuple(dataclasses.replace(finding, charts=()) for finding in report.findings)
    Path(folder, spec.ANSWER).write_bytes(pickle.dumps((dataclasses.replace(report, findings=plain), html)))
    return 0


def _run(examination: Examination, code: str) -> tuple[dict[str, Any], BaseException | None]:
    """Executes the program; returns its variables and the exception that ended it."""
    given = examination.spec
    program = types.ModuleType("__main__")
    program.__file__ = given.program
    sys.modules["__main__"] = program
    sys.argv = [os.path.basename(given.program), *given.arguments]
    sys.path.insert(0, os.path.dirname(given.program))
    importlib.invalidate_caches()
    signal.signal(signal.SIGALRM, _end)
    if not given.full:
        signal.setitimer(signal.ITIMER_REAL, given.reach_seconds, 5.0)
    examination.watcher.judged = bool(JUDGES.search(code) or ASKS.search(code))
    examination.may_ask = training_mode.may_ask(code)
    category_codes.load(code)
    examination.watcher.start()
    eagerly = "GradientTape" in code and "def train_step(self" not in code
    tf.config.run_functions_eagerly(eagerly)
    if eagerly and examination.may_ask:
        examination.watcher.hurry(has_enough)
    error: BaseException | None = None
    try:
        exec(compile(code, given.program, "exec"), program.__dict__)  # noqa: S102 - the user's own program
    except BaseException as e:  # the program may end by anything; `finish` says by what
        error = e
        traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        tf.config.run_functions_eagerly(False)
        examination.watcher.stop()
    return program.__dict__, error


def _end(*_: object) -> None:
    raise Ended("it had its time")
