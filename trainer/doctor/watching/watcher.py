"""Watches Keras while a program runs: what it builds, trains and evaluates.

`Watcher.start` puts functions in the place of some methods of Keras, which call the originals, and `stop` puts the
originals back. tf.keras has the same classes, so it is watched as well.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor.subject.training import STEPS, Call, Place
from trainer.doctor.tools import tfdata_steps
from trainer.doctor.watching.category_codes import CategoryCodes
from trainer.doctor.watching.divided_folders import READERS, DividedFolders
from trainer.doctor.watching.joined_rows import JoinedRows
from trainer.doctor.watching.places import Places
from trainer.doctor.watching.seen_rows import SeenRows
from trainer.doctor.watching.statistics_apart import LAYERS, StatisticsApart
from trainer.doctor.watching.thread_calls import Inside, ThreadCalls
from trainer.doctor.watching.training_mode import TrainingMode
from trainer.doctor.watching.vocabularies import LOOKUPS, Vocabularies
from trainer.doctor.watching.watched_loop import Loop
from trainer.doctor.watching.watched_tape import LOSSES, NN_LOSSES, WatchedTape, has_numbers

# Methods of a model that are only noted, with their line.
NOTED = ("load_weights", "save_weights", "save", "export")

MOST_ANSWERED = 8  # calls of predict whose rows are compared with those of training
MOST_ASKED = 64  # images of predict that are compared with those of training

Trains = Callable[[Any, dict[str, Any], Callable[[dict[str, Any]], Any]], Any]


class Watcher:
    """Holds what was seen of a program.

    Args:
      places: finds the user's line of a call.
      on_fit: is called in the place of Model.fit with the model, the arguments and the original as a function of
        arguments. What it returns is what the program gets.
      end_loop: is called after each step of a loop that the program writes itself. It raises to end the program.

    evaluations: (model, arguments, place) of each call of evaluate.
    reported: metric -> value that each of these calls gave; {} where it raised an exception.
    judged: True if the program's code calls evaluate or predict.
    tape: the training loops that the program writes itself.
    metrics_as_weights: the place and the names of compile(loss_weights=...) that are text; None if there were none.
    vocabularies: what lookup layers made of texts. statistics: what others made of numbers.
    seen_rows: the rows on which models trained. `on_fit` tells it where a training begins and ends.
    folders: what the program read of which folder.
    training_mode: calls of models with training=True, after the first training has begun.
    codes: what pandas and scikit-learn made of categories. joined: how pandas joined rows.
    answered: (inputs, place) of the first calls of predict on arrays.
    unbuilt: the symbolic input of the first layer that could not be built; None if all could.
    asked: model -> the first arrays of one input that predict got after a training began, and the line.
    predicted: (data, place) of each call of predict on a tf.data.Dataset or a PyDataset. Iterators of
      keras.preprocessing are of this class.
    """

    def __init__(self, places: Places, on_fit: Trains, end_loop: Callable[[Loop], None]) -> None:
        self.places = places
        self.evaluations: list[tuple[Any, dict[str, Any], Place | None]] = []
        self.reported: list[dict[str, float]] = []
        self.judged = False
        self.predicted: list[tuple[Any, Place | None]] = []
        self.metrics_as_weights: tuple[Place | None, str] | None = None
        self.vocabularies = Vocabularies()
        self.statistics = StatisticsApart()
        self.seen_rows = SeenRows()
        self.folders = DividedFolders()
        self.training_mode = TrainingMode()
        self._fitted = False
        self.codes = CategoryCodes(places)
        self.joined = JoinedRows(places)
        self.answered: list[tuple[Any, Place | None]] = []
        self.asked: weakref.WeakKeyDictionary[Any, tuple[list[np.ndarray], Place | None]] = weakref.WeakKeyDictionary()
        self.unbuilt: Any = None
        self._passed: dict[int, Any] = {}  # by id: a loop passes over one dataset many times
        self._on_fit, self._end_loop = on_fit, end_loop
        self._built: weakref.WeakKeyDictionary[Any, Place] = weakref.WeakKeyDictionary()
        self.ignored_flags: tuple[Place | None, dict[str, bool]] | None = None  # layers, by what their flag is now
        self._compiled: weakref.WeakKeyDictionary[Any, tuple[Place | None, tuple[str, ...]]] = (
            weakref.WeakKeyDictionary()
        )
        self._shuffles: weakref.WeakKeyDictionary[Any, Place | None] = weakref.WeakKeyDictionary()
        self._callbacks: weakref.WeakKeyDictionary[Any, Place | None] = weakref.WeakKeyDictionary()
        self._traced: weakref.WeakKeyDictionary[Any, dict[str, bool]] = weakref.WeakKeyDictionary()
        self._calls: weakref.WeakKeyDictionary[Any, list[Call]] = weakref.WeakKeyDictionary()
        self._undo: list[tuple[Any, str, Any]] = []
        self._here = ThreadCalls()
        self.tape = WatchedTape(places, self._here, end_loop)

    # ---- what was seen

    def built_at(self, layer: Any) -> Place | None:
        """Returns the line that made a layer or a model; None if it was not seen."""
        return None if layer is None else self._built.get(layer)

    def callback_at(self, callback: Any) -> Place | None:
        """Returns the line that made a callback; None if it was not seen."""
        return self._callbacks.get(callback)

    def layers_at(self, model: Any) -> dict[str, Place]:
        """Returns name -> line of the layers of a model."""
        return {layer.name: place for layer in flat(model) if (place := self._built.get(layer)) is not None}

    def compiled(self, model: Any) -> tuple[Place | None, tuple[str, ...]]:
        """Returns the line of the last compile, and the metrics."""
        nothing: tuple[Place | None, tuple[str, ...]] = (None, ())
        return nothing if model is None else self._compiled.get(model, nothing)

    def calls(self, model: Any) -> tuple[Call, ...]:
        """Returns the watched calls on a model, in order."""
        return () if model is None else tuple(self._calls.get(model, ()))

    @property
    def _has_trained(self) -> bool:
        return self._fitted or bool(self.tape.loops) or self.tape.unknown_loop is not None

    # ---- how it is seen

    def start(self) -> None:
        """Puts the watching functions in their places."""
        self._watch_construction()
        # Keras compiles a model that it loads only if its class has no compile of its own.
        owner = next(kind for kind in keras.Model.__mro__ if "compile" in vars(kind))
        self._put(owner, "compile", self._compile)
        self._put(keras.Model, "fit", self._fit)
        self._put(keras.Model, "evaluate", self._evaluate)
        self._put(keras.Model, "train_on_batch", self._train_on_batch)
        self._put(keras.Model, "predict", self._predict)
        self._put(tf.data.Dataset, "__iter__", self._iterated)
        self._put(tf.data.Dataset, "shuffle", self._shuffle)
        self._replace(tf.keras.preprocessing.text.Tokenizer, "fit_on_texts", self._fit_on_texts)
        self._replace(tf.keras.preprocessing.text.Tokenizer, "texts_to_sequences", self._texts_to_sequences)
        for module in (keras.utils, tf.keras.utils, keras.preprocessing, tf.keras.preprocessing):
            for name in READERS:
                self._put(module, name, self._read_folder)
        self._replace(tf.keras.preprocessing.image.ImageDataGenerator, "flow_from_directory", self._flow_folder)
        self._replace(keras.callbacks.Callback, "__init__", self._made_callback)
        self.codes.start(self._replace)
        self.joined.start(self._replace)
        for kind in (*LOOKUPS, *LAYERS):
            self._put(kind, "adapt", self._adapt)
        for name in NOTED:
            self._put(keras.Model, name, functools.partial(self._note, name))
        self._put(keras.layers.Layer, "__call__", self._called)
        self._put(keras.losses.Loss, "__call__", self.tape.loss_object)
        self._put(tf.GradientTape, "gradient", self.tape.gradient)
        self._put(keras.optimizers.Optimizer, "apply", self.tape.apply)
        for module in (keras.losses, tf.keras.losses):
            for name in LOSSES:
                self._put(module, name, self.tape.loss_function)
        for name in NN_LOSSES:
            self._put(tf.nn, name, self.tape.loss_function)

    def stop(self) -> None:
        """Puts the originals back."""
        while self._undo:
            owner, name, original = self._undo.pop()
            setattr(owner, name, original)

    def _put(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(owner, name, None)
        if callable(original) and not inspect.isclass(original):
            self._undo.append((owner, name, original))
            # In a tf.function of the user, AutoGraph would turn these functions into other code.
            setattr(owner, name, tf.autograph.experimental.do_not_convert(functools.wraps(original)(make(original))))

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Puts something into the place of a method or a property.

        It is for those that no tf.function calls.
        """
        original = getattr(owner, name)
        self._undo.append((owner, name, original))
        made = make(original)
        setattr(owner, name, made if isinstance(made, property) else functools.wraps(original)(made))

    def _watch_construction(self) -> None:
        """Notes the line of each layer and model in __new__.

        Keras reads the arguments of __init__, so that one must stay as it is.
        """
        original = keras.layers.Layer.__new__

        def __new__(kind: Any, *args: Any, **options: Any) -> Any:  # noqa: N807 - it stands in for __new__
            layer = original(kind, *args, **options)
            place = None if self._here.inside else self.places.of_caller()
            if place is not None:
                self._built[layer] = place
            return layer

        self._undo.append((keras.layers.Layer, "__new__", staticmethod(original)))
        keras.layers.Layer.__new__ = staticmethod(functools.wraps(original)(__new__))

    def _read_folder(self, original: Any) -> Any:
        signature = inspect.signature(original)

        def read(*args: Any, **options: Any) -> Any:
            made = original(*args, **options)
            given = signature.bind(*args, **options)
            given.apply_defaults()
            self.folders.note_dataset(made, given.arguments, self.places.of_caller())
            return made

        return read

    def _flow_folder(self, original: Any) -> Any:
        signature = inspect.signature(original)

        def flow_from_directory(generator: Any, *args: Any, **options: Any) -> Any:
            made = original(generator, *args, **options)
            subset = signature.bind(generator, *args, **options).arguments.get("subset")
            self.folders.note_iterator(made, generator._validation_split, subset, self.places.of_caller())
            return made

        return flow_from_directory

    def _made_callback(self, original: Any) -> Any:
        def __init__(callback: Any, *args: Any, **options: Any) -> None:  # noqa: N807 - it stands in for __init__
            original(callback, *args, **options)
            self._callbacks[callback] = self.places.of_caller()

        return __init__

    def _compile(self, original: Any) -> Any:
        def compile(model: Any, *args: Any, **options: Any) -> Any:
            if self._here.inside:
                return original(model, *args, **options)
            self._note_call(model, "compile")
            given = inspect.signature(original).bind(model, *args, **options).arguments
            weights = keras.tree.flatten(given.get("loss_weights") or [])
            if any(isinstance(weight, str) for weight in weights):
                self.metrics_as_weights = (self.places.of_caller(), ", ".join(map(str, weights)))
            metrics = tuple(_name(metric) for metric in keras.tree.flatten(given.get("metrics") or []))
            self._compiled[model] = (self.places.of_caller(), metrics)
            self._traced.pop(model, None)
            with self.inside():
                return original(model, *args, **options)

        return compile

    def _fit(self, original: Any) -> Any:
        signature = inspect.signature(original)

        def fit(model: Any, *args: Any, **options: Any) -> Any:
            if self._here.inside:
                return original(model, *args, **options)
            bound = signature.bind(model, *args, **options)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            arguments.pop("self", None)
            self._note_flags(model)

            def run(changed: dict[str, Any]) -> Any:
                with self.inside():
                    return original(model, **changed)

            self._fitted = True
            try:
                return self._on_fit(model, arguments, run)
            finally:
                self._note_call(model, "fit")

        return fit

    def _note_flags(self, model: Any) -> None:
        """Notes layers that were frozen or unfrozen since the last compile and fit.

        The first fit after a compile traces the step with the weights that are trainable then. Keras keeps that step
        until the next compile. With run_eagerly it makes none; then a layer that is frozen stays as it is, and one that
        is unfrozen is unknown to the optimizer.
        """
        flags = {layer.name: bool(layer.trainable) for layer in flat(model) if layer.weights}
        traced = self._traced.setdefault(model, flags)
        changed = {name: flag for name, flag in flags.items() if traced.get(name, flag) != flag}
        if getattr(model, "run_eagerly", False):
            changed = {name: flag for name, flag in changed.items() if flag}
        if changed and self.ignored_flags is None:
            self.ignored_flags = self.places.of_caller(), changed

    def _evaluate(self, original: Any) -> Any:
        signature = inspect.signature(original)

        def evaluate(model: Any, *args: Any, **options: Any) -> Any:
            if self._here.inside:
                return original(model, *args, **options)
            self._note_call(model, "evaluate")
            bound = signature.bind(model, *args, **options)
            bound.apply_defaults()
            self.evaluations.append((model, dict(bound.arguments), self.places.of_caller()))
            self.reported.append({})
            with self.inside():
                self.seen_rows.judge(model, bound.arguments["x"], self.places.of_caller(), "evaluate")
                self.folders.judge(model, bound.arguments["x"])
                found = original(model, *args, **options)
                self.reported[-1].update(_reported(model))
            return found

        return evaluate

    def _train_on_batch(self, original: Any) -> Any:
        signature = inspect.signature(original)

        def train_on_batch(model: Any, *args: Any, **options: Any) -> Any:
            if self._here.inside:
                return original(model, *args, **options)
            given = signature.bind(model, *args, **options).arguments
            loop = self.tape.loop(model, STEPS)
            loop.step(given["x"], given.get("y"), given.get("sample_weight"))
            with self.inside():
                found = original(model, *args, **options)
            self._end_loop(loop)
            return found

        return train_on_batch

    def _predict(self, original: Any) -> Any:
        noted = self._note("predict", original)

        def predict(model: Any, x: Any, *args: Any, **options: Any) -> Any:
            if not self._here.inside:
                with self.inside():
                    self.seen_rows.judge(model, x, self.places.of_caller(), "predict")
            if not self._here.inside and isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
                self.predicted.append((x, self.places.of_caller()))
            elif not self._here.inside and len(self.answered) < MOST_ANSWERED:
                self.answered.append((x, self.places.of_caller()))
            if not self._here.inside and self._has_trained and hasattr(x, "__array__"):
                arrays, _ = self.asked.setdefault(model, ([], self.places.of_caller()))
                if sum(map(len, arrays)) < MOST_ASKED:
                    arrays.append(np.array(x[:MOST_ASKED]))
            return noted(model, x, *args, **options)

        return predict

    def _iterated(self, original: Any) -> Any:
        def __iter__(dataset: Any) -> Any:  # noqa: N807 - it stands in for __iter__
            if not self._here.inside and tf.executing_eagerly():
                self._passed[id(dataset)] = dataset
            return original(dataset)

        return __iter__

    def _shuffle(self, original: Any) -> Any:
        def shuffle(dataset: Any, *args: Any, **options: Any) -> Any:
            made = original(dataset, *args, **options)
            self._shuffles[made] = self.places.of_caller()
            return made

        return shuffle

    def shuffled_apart(self, dataset: Any) -> list[Place]:
        """Returns the lines that shuffle two datasets before they are zipped."""
        for step in tfdata_steps.steps(dataset) if isinstance(dataset, tf.data.Dataset) else ():
            if step.kind != "Zip":
                continue
            parts = [tfdata_steps.steps(part) for part in step.dataset._inputs()]
            found = [[self._shuffles[s.dataset] for s in part if s.dataset in self._shuffles] for part in parts]
            places = [part[0] for part in found if part and part[0] is not None]
            if len(places) > 1:
                return places
        return []

    def passed_by_program(self, dataset: Any) -> bool:
        """Tells whether the program itself passed over a dataset.

        Passes over another dataset that is made of it count, too.
        """
        return any(step.dataset is dataset for passed in self._passed.values() for step in tfdata_steps.steps(passed))

    def _adapt(self, original: Any) -> Any:
        def adapt(layer: Any, *args: Any, **options: Any) -> Any:
            if not self._here.inside:
                noted = self.statistics if isinstance(layer, LAYERS) else self.vocabularies
                noted.places[layer] = self.places.of_caller()
            with self.inside():
                return original(layer, *args, **options)

        return adapt

    def _fit_on_texts(self, original: Any) -> Any:
        def fit_on_texts(tokenizer: Any, texts: Any) -> Any:
            self.vocabularies.places[tokenizer] = self.places.of_caller()
            return original(tokenizer, texts)

        return fit_on_texts

    def _texts_to_sequences(self, original: Any) -> Any:
        def texts_to_sequences(tokenizer: Any, texts: Any) -> Any:
            made = original(tokenizer, texts)
            self.vocabularies.note_sequences(tokenizer, made)
            return made

        return texts_to_sequences

    def _note(self, name: str, original: Any) -> Any:
        def noted(model: Any, *args: Any, **options: Any) -> Any:
            if self._here.inside:
                return original(model, *args, **options)
            self._note_call(model, name)
            with self.inside():
                found = original(model, *args, **options)
                if name == "load_weights":
                    self.seen_rows.loaded(model, args[0] if args else options.get("filepath"))
            return found

        return noted

    def _called(self, original: Any) -> Any:
        def __call__(layer: Any, *args: Any, **options: Any) -> Any:  # noqa: N807 - it stands in for __call__
            if isinstance(layer, LOOKUPS) and not self._here.inside:
                with self.inside():
                    made = original(layer, *args, **options)
                self.vocabularies.note(layer, made)
                self.codes.note_lookup(layer, made)
                return made
            if isinstance(layer, LAYERS) and not self._here.inside:
                with self.inside():
                    made = original(layer, *args, **options)
                self.statistics.note(layer, made)
                return made
            if self._here.inside or not args or not has_numbers(args[0]):
                return self._call_symbolic(original, layer, args, options)
            if not isinstance(layer, keras.Model):
                return self.tape.call_loose(original, layer, args, options)
            found = self.tape.call_model(original, layer, args, options)
            if self._has_trained and (options.get("training") is True or args[1:2] == (True,)):
                self.training_mode.note(layer, args[0], self.places.of_caller(), found, self.tape.steps)
            return found

        return __call__

    def _call_symbolic(self, original: Any, layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Calls a layer, and notes what it got if it raises while a model is put together."""
        try:
            return original(layer, *args, **options)
        except Exception:
            if self.unbuilt is None and args and isinstance(args[0], keras.KerasTensor):
                self.unbuilt = args[0]
            raise

    def _note_call(self, model: Any, name: str) -> None:
        self._calls.setdefault(model, []).append(Call(name, self.places.of_caller()))

    def hurry(self, has_enough: Callable[[Loop], bool]) -> None:
        """Lets loops run as graphs once enough of them was seen.

        Functions that are no step of a loop run eagerly still, so that their calls of models are seen.

        Args:
          has_enough: tells whether a loop has shown enough.
        """
        called = functools.partial(self.tape.function, has_enough)
        self._replace(type(tf.function(lambda: None)), "__call__", called)

    def inside(self) -> Inside:
        """Returns a context in which calls of Keras are not taken for the user's."""
        return self._here.within()


def flat(model: Any) -> Iterator[Any]:
    """Yields the layers of a model, and those of the models in it."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from flat(layer) if isinstance(layer, keras.Model) else ()


def _reported(model: Any) -> dict[str, float]:
    """Returns what the metrics of a model say after a pass of evaluate."""
    try:
        values = model.get_metrics_result()
    except Exception:  # metrics of the program's own
        return {}
    return {str(name): float(value) for name, value in values.items() if np.ndim(value) == 0}


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else str(getattr(metric, "name", getattr(metric, "__name__", metric)))
