"""Watches Keras while a program runs: what it builds, trains and evaluates.

`Watcher.start` puts functions in the place of some methods of Keras, which call the originals, and `stop` puts the
originals back. tf.keras has the same classes, so it is watched as well.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from trainer.doctor.subject.training import LOOP, STEPS, Call, Place
from trainer.doctor.tools import tfdata_steps
from trainer.doctor.tools.broadcasts import Broadcasts
from trainer.doctor.watching.category_codes import CategoryCodes
from trainer.doctor.watching.divided_folders import READERS, DividedFolders
from trainer.doctor.watching.gradient_sums import GradientSums
from trainer.doctor.watching.joined_rows import JoinedRows
from trainer.doctor.watching.places import Places
from trainer.doctor.watching.seen_rows import SeenRows
from trainer.doctor.watching.statistics_apart import LAYERS, StatisticsApart
from trainer.doctor.watching.training_mode import TrainingMode
from trainer.doctor.watching.vocabularies import LOOKUPS, Vocabularies
from trainer.doctor.watching.watched_loop import LayerCall, Loop, chain

# Methods of a model that are only noted, with their line.
NOTED = ("load_weights", "save_weights", "save", "export")
LOSSES = tuple(name for name in dir(keras.losses) if name.endswith(("crossentropy", "_error", "divergence")))
NN_LOSSES = (
    "sparse_softmax_cross_entropy_with_logits", "softmax_cross_entropy_with_logits",
    "sigmoid_cross_entropy_with_logits",
)  # fmt: skip

MOST_ANSWERED = 8  # calls of predict whose rows are compared with those of training
MOST_ASKED = 64  # images of predict that are compared with those of training
MOST_LOSSES = 8  # calls of losses until a step of an optimizer
MOST_CALLS = 256  # of layers under a tape, until a step of an optimizer
FOLLOWED_STEPS = 2  # of a loop, in which each operation on the model's outputs is looked at

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
    loops: the training loops that the program writes itself, by model.
    unknown_loop: the first loop whose forward pass is not known; None without.
    taped_at: the line of the first gradient that the program itself asks a tape for.
    metrics_as_weights: the place and the names of compile(loss_weights=...) that are text; None if there were none.
    vocabularies: what lookup layers made of texts. statistics: what others made of numbers.
    seen_rows: the rows on which models trained. `on_fit` tells it where a training begins and ends.
    folders: what the program read of which folder.
    training_mode: calls of models with training=True, after the first training has begun, which `trained` tells.
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
        self.loops: dict[int, Loop] = {}
        self.predicted: list[tuple[Any, Place | None]] = []
        self.metrics_as_weights: tuple[Place | None, str] | None = None
        self.vocabularies = Vocabularies()
        self.statistics = StatisticsApart()
        self.seen_rows = SeenRows()
        self.folders = DividedFolders()
        self.training_mode = TrainingMode()
        self.trained = False
        self.codes = CategoryCodes(places)
        self.joined = JoinedRows(places)
        self.answered: list[tuple[Any, Place | None]] = []
        self.asked: weakref.WeakKeyDictionary[Any, tuple[list[np.ndarray], Place | None]] = weakref.WeakKeyDictionary()
        self.unbuilt: Any = None
        self.unknown_loop: Loop | None = None
        self.taped_at: Place | None = None
        self._chains: dict[tuple[int, ...], Any] = {}  # by the layers, which the models keep
        self._loose_steps = 0
        self._gradient_sums = GradientSums()
        self._passed: dict[int, Any] = {}  # by id: a loop passes over one dataset many times
        self._steps: weakref.WeakKeyDictionary[Any, Loop] = weakref.WeakKeyDictionary()  # by tf.function
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
        self._here = _Here()

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
        self._put(keras.losses.Loss, "__call__", self._loss_object)
        self._put(tf.GradientTape, "gradient", self._gradient)
        self._put(keras.optimizers.Optimizer, "apply", self._apply)
        for module in (keras.losses, tf.keras.losses):
            for name in LOSSES:
                self._put(module, name, self._loss_function)
        for name in NN_LOSSES:
            self._put(tf.nn, name, self._loss_function)

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

            self.trained = True
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
            loop = self._loop(model, STEPS)
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
            if not self._here.inside and self.trained and hasattr(x, "__array__"):
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
            if self._here.inside or not args or not _known(args[0]):
                return self._call_symbolic(original, layer, args, options)
            if not isinstance(layer, keras.Model):
                return self._call_loose(original, layer, args, options)
            self._here.inputs = (layer, args[0])
            mode = options.get("training", args[1] if len(args) > 1 else None)
            self._here.mode = mode is not None and mode is not False  # True for a tensor, too
            with self.inside():
                found = original(layer, *args, **options)
            if self.trained and (options.get("training") is True or args[1:2] == (True,)):
                steps = sum(loop.steps for loop in self.loops.values())
                self.training_mode.note(layer, args[0], self.places.of_caller(), found, steps)
            self._follow(found, self.loops[id(layer)].steps if id(layer) in self.loops else 0)
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

    def _call_loose(self, original: Any, layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Calls a layer that the program itself calls.

        Under a tape, such calls may be the forward pass of a loop without a model, as of a tf.Module.
        """
        before = len(self._here.calls)
        found = original(layer, *args, **options)
        if record.could_possibly_record():
            del self._here.calls[before:]  # those of layers inside of it
            if before >= MOST_CALLS:
                self._here.calls.clear()
            self._here.calls.append(LayerCall(layer, args[0], found))
            self._follow(found, self._loose_steps)
        return found

    def _follow(self, outputs: Any, steps: int) -> None:
        if steps < FOLLOWED_STEPS:
            self._here.spreads = self._here.spreads or Broadcasts(self.places.of_caller)
            self._here.spreads.begin(outputs)

    def _loss_object(self, original: Any) -> Any:
        def __call__(loss: Any, y_true: Any, *args: Any, **options: Any) -> Any:  # noqa: N807 - as above
            if not self._here.inside and _known(y_true):
                self._note_labels(loss, y_true)
            with self.inside():
                return original(loss, y_true, *args, **options)

        return __call__

    def _loss_function(self, original: Any) -> Any:
        def loss(*args: Any, **options: Any) -> Any:
            y_true = args[0] if args else options.get("y_true", options.get("labels"))
            if not self._here.inside and _known(y_true):
                self._note_labels(loss_of(original, options), y_true)
            with self.inside():
                return original(*args, **options)

        return loss

    def _note_labels(self, loss: Any, y_true: Any) -> None:
        if len(self._here.labels) >= MOST_LOSSES:
            self._here.labels.pop(0)
        self._here.labels.append((loss, y_true))

    def _gradient(self, original: Any) -> Any:
        def gradient(tape: Any, *args: Any, **options: Any) -> Any:
            found = original(tape, *args, **options)
            if not self._here.inside:
                self.taped_at = self.taped_at or self.places.of_caller()
                self._gradient_sums.add(found)
            return found

        return gradient

    def _apply(self, original: Any) -> Any:
        def apply(optimizer: Any, *args: Any, **options: Any) -> Any:
            calls, self._here.calls = self._here.calls, []
            unknown = self._here.inputs is None  # as for the second optimizer of a step
            if self._here.inside or (unknown and (self.taped_at is None or (self.loops and not calls))):
                return original(optimizer, *args, **options)
            model, x = self._here.inputs or (self._chained(calls), calls[0].inputs if calls else None)
            self._loose_steps += unknown
            loss, y = self._here.labels[-1] if self._here.labels else (None, None)
            if len(self._here.labels) > 1 and all(_is_constant(labels) for _, labels in self._here.labels):
                y = None  # ones and zeros for a discriminator are no labels of the data
            loop = self._loop(model, LOOP)
            loop.optimizer, loop.loss = optimizer, loss
            if not unknown:
                loop.modes.add(self._here.mode)
            loop.step(x, y, None)
            self._steps.update((function, loop) for function in self._here.functions)
            if self._here.spreads is not None:
                loop.spread = self._here.spreads.end() or loop.spread
            given = args[0] if args else options.get("grads", ())
            loop.summed = max(loop.summed, self._gradient_sums.apply(given))
            self._here.inputs = None
            self._here.labels.clear()
            with self.inside():
                found = original(optimizer, *args, **options)
            self._end_loop(loop)
            return found

        return apply

    def _loop(self, model: Any, kind: str) -> Loop:
        self.trained = True
        if model is None:
            self.unknown_loop = self.unknown_loop or Loop(kind, None, self.places.of_caller(), time.monotonic())
            return self.unknown_loop
        if id(model) not in self.loops:
            self.loops[id(model)] = Loop(kind, model, self.places.of_caller(), time.monotonic())
        return self.loops[id(model)]

    def _chained(self, calls: list[LayerCall]) -> Any:
        """Returns the model of a chain of layers; None where they are no chain."""
        key = tuple(id(call.layer) for call in calls)
        if key not in self._chains:
            with self.inside():
                self._chains[key] = chain(calls)
        return self._chains[key]

    def _note_call(self, model: Any, name: str) -> None:
        self._calls.setdefault(model, []).append(Call(name, self.places.of_caller()))

    def hurry(self, has_enough: Callable[[Loop], bool]) -> None:
        """Lets loops run as graphs once enough of them was seen.

        Functions that are no step of a loop run eagerly still, so that their calls of models are seen.

        Args:
          has_enough: tells whether a loop has shown enough.
        """
        self._replace(type(tf.function(lambda: None)), "__call__", functools.partial(self._function, has_enough))

    def _function(self, has_enough: Callable[[Loop], bool], original: Any) -> Any:
        def __call__(function: Any, *args: Any, **options: Any) -> Any:  # noqa: N807 - it stands in for __call__
            loop = None if self._here.inside else self._steps.get(function)
            if loop is not None and has_enough(loop):
                tf.config.run_functions_eagerly(False)
                try:
                    found = original(function, *args, **options)
                finally:
                    tf.config.run_functions_eagerly(True)
                self._end_loop(loop)
                return found
            self._here.functions = (*self._here.functions, function)
            try:
                return original(function, *args, **options)
            finally:
                self._here.functions = self._here.functions[:-1]

        return __call__

    def inside(self) -> _Inside:
        """Returns a context in which calls of Keras are not taken for the user's."""
        return _Inside(self)


class _Here(threading.local):
    """Holds what belongs to one thread: a program may train in several at once.

    inside: number of calls of Keras that run, on which others depend; what they call is not the user's.
    inputs, mode: (model, x) of the last call of a model, and whether it had training=True.
    labels: (loss, y) of the last calls of losses, up to the next step.
    spreads: follows the outputs of the models up to the next step of an optimizer.
    functions: the calls of a tf.function that run, of `Watcher.hurry`.
    calls: calls of layers that are in no model, under a tape, up to the next step of an optimizer.
    """

    inside: int = 0
    inputs: tuple[Any, Any] | None = None
    mode: bool = False
    spreads: Broadcasts | None = None
    functions: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []
        self.labels: list[tuple[Any, Any]] = []


class _Inside:
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def __enter__(self) -> None:
        self._watcher._here.inside += 1

    def __exit__(self, *_: object) -> None:
        self._watcher._here.inside -= 1


def flat(model: Any) -> Iterator[Any]:
    """Yields the layers of a model, and those of the models in it."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from flat(layer) if isinstance(layer, keras.Model) else ()


def loss_of(function: Any, options: Mapping[str, Any]) -> Any:
    """Returns the loss for compile that is the same as a function; None without."""
    logits = bool(options.get("from_logits", False))
    name = getattr(function, "__name__", "")
    sparse, dense = keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy
    found = {
        "sparse_categorical_crossentropy": (sparse, logits),
        "categorical_crossentropy": (dense, logits),
        "binary_crossentropy": (keras.losses.BinaryCrossentropy, logits),
        "sparse_softmax_cross_entropy_with_logits": (sparse, True),
        "softmax_cross_entropy_with_logits": (dense, True),
        "sigmoid_cross_entropy_with_logits": (keras.losses.BinaryCrossentropy, True),
    }.get(name)
    return None if found is None else found[0](from_logits=found[1])


def _reported(model: Any) -> dict[str, float]:
    """Returns what the metrics of a model say after a pass of evaluate."""
    try:
        values = model.get_metrics_result()
    except Exception:  # metrics of the program's own
        return {}
    return {str(name): float(value) for name, value in values.items() if np.ndim(value) == 0}


def _name(metric: Any) -> str:
    return metric if isinstance(metric, str) else str(getattr(metric, "name", getattr(metric, "__name__", metric)))


def _is_constant(labels: Any) -> bool:
    """Tells whether all labels of a batch are one number."""
    return all(np.ptp(np.asarray(part)) == 0 for part in keras.tree.flatten(labels) if np.size(part))


def _known(value: Any) -> bool:
    """Tells whether a value has numbers, and is not a symbol of a graph."""
    parts = keras.tree.flatten(value)
    return bool(parts) and all(hasattr(part, "shape") and hasattr(part, "__array__") for part in parts) and not any(
        isinstance(part, keras.KerasTensor) or (tf.is_tensor(part) and not hasattr(part, "numpy")) for part in parts
    )  # fmt: skip
