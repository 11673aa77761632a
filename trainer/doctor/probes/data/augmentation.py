"""Checks the data for augmentation that does harm.

It may be frozen, in the wrong split, on the wrong classes, or so strong that the objects are no longer visible.

The probes call the maps of a dataset in two ways on the same element. The first is the traced function, which is what
every epoch sees. The second is the Python function, which runs its Python code again with each call.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.doctor import catalogue
from trainer.doctor.clock import Clock
from trainer.doctor.finding import PICTURES, Chart, Finding, NotApplicable
from trainer.doctor.probes.base import Probe
from trainer.doctor.subject import exceptions, state
from trainer.doctor.subject.sample import class_ids
from trainer.doctor.subject.subject import DATASET, Split, Subject
from trainer.doctor.tools import tfdata_steps
from trainer.doctor.tools.tfdata_steps import Step

# So many elements are tried with a map, each TIMES times. A random choice of even chance then stays hidden with a
# probability of 2**-28.
ELEMENTS = 4
TIMES = 8
# A map is traced so many times to see whether its Python code tosses a coin, which then stays hidden with 2**-15.
TRACES = 16
PER_CLASS = 4
SEARCHED = 400  # elements that are searched for images of each class
# These words in a function's name show that it is meant for the rare class.
MEANT_RARE = re.compile(r"rare|minor|oversampl|underrepresent|tail_class")
# Such a comment shows that the classes are unbalanced, and that the program's author knows it.
SAID_UNBALANCED = re.compile(r"\b(un|im|not )-?balanced?\b|\bimbalances?\b|rare class|minority class|under-?represent")
UNBALANCED = 1.25  # images of the commonest class to those of the rarest, where a comment calls them so
WASHED_OUT = 0.1  # share of the contrast that the image had before
DESTROYED_SHARE = 0.5


def frozen(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds augmentation that does not change from epoch to epoch.

    There are three reasons: Python code drew a random number once, when the graph was traced. A cache follows the
    augmentation. A seed starts again with each pass.
    """
    for step, behind in image_maps(own_dataset(subject).train, clock):
        elements = _elements(step, ELEMENTS)  # a shuffle before the map gives others each time
        varies = _varies(tfdata_steps.run_traced, step, clock, elements)
        if varies:
            if any(later.kind == "Cache" for later in behind):
                return [_cached(step)]
            if tfdata_steps.traces_differ(step, TRACES):
                return [_tossed_once(step)]
            if not any(s.kind.startswith("Shuffle") for s in tfdata_steps.steps(step.source)) and _repeats(step):
                return [_seeded(step)]
        elif _varies(tfdata_steps.run_anew, step, clock, elements):
            return [_frozen(step)]
    return []


def in_validation(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds validation images that a map changes at random."""
    for step, _ in image_maps(own_dataset(subject).validation, clock):
        if _varies(tfdata_steps.run_traced, step, clock) or _varies(tfdata_steps.run_anew, step, clock):
            return [
                catalogue.found(
                    "augmentation-in-validation",
                    f"{where(step)} gives {TIMES} different results for one validation image.",
                )
            ]
    return []


def on_all_classes(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds augmentation that is meant for one class and also changes others.

    The code of the map shows that one class is meant. Where it does not, a comment of the program may say that the
    classes are unbalanced, while the augmentation is the same for all of them.
    """
    for step, _ in image_maps(own_dataset(subject).train, clock):
        reason, said = _meant_for_rare(step.function), ""
        if not reason and not _weighs(subject):
            said = _said_unbalanced(step.function)
        if not (reason or said):
            continue
        # A coin of Python that was tossed once may have switched the map off. Then its code shows what was meant.
        runs = tfdata_steps.run_traced, tfdata_steps.run_anew
        run = next((run for run in runs if _varies(run, step, clock)), None)
        if run is None:
            continue
        shares = _share_by_class(run, step, clock)
        counts = np.bincount(np.asarray(subject.train.sample.labels_seen)) if subject.train else np.zeros(0)
        present = [label for label in shares if label < len(counts)]
        if len(present) < 2:
            raise NotApplicable("too few classes were seen")
        common, rare = max(present, key=lambda c: counts[c]), min(present, key=lambda c: counts[c])
        alike = shares[common] >= 0.25 and shares[common] >= 0.5 * shares[rare]
        if alike and (reason or counts[common] >= UNBALANCED * counts[rare]):
            return [_on_all(step, reason, said, subject, shares, common, rare)]
    return []


def destroying(subject: Subject, clock: Clock) -> list[Finding]:
    """Finds augmentation after which images have nearly no contrast."""
    for step, _ in image_maps(own_dataset(subject).train, clock):
        if not _varies(tfdata_steps.run_traced, step, clock):
            continue
        before, after = [], []
        for element in _elements(step, ELEMENTS * 2):
            clock.check()
            for image in tfdata_steps.run_traced(step, element, TIMES):
                before.append(np.asarray(tf.nest.flatten(element)[0]))
                after.append(image)
        lost = [_contrast(a) < WASHED_OUT * _contrast(b) for a, b in zip(after, before, strict=True)]
        if np.mean(lost) >= DESTROYED_SHARE:
            return [_destroyed(step, after, before, float(np.mean(lost)))]
    return []


def own_dataset(subject: Subject) -> Subject:
    if subject.origin != DATASET:
        raise NotApplicable("it looks into the map functions of --dataset")
    return subject


def image_maps(split: Split | None, clock: Clock) -> Iterator[tuple[Step, list[Step]]]:
    """Yields the maps from images to images, each with the steps after it.

    Raises:
      NotApplicable: no map function can be read.
    """
    found = False
    for step, behind in tfdata_steps.maps(split.dataset) if split is not None and split.dataset is not None else ():
        clock.check()
        spec = tf.nest.flatten(step.source.element_spec)[0]
        given = tf.nest.flatten(step.dataset.element_spec)[0]
        found = True
        if _is_image(given) and (_is_image(spec) or getattr(spec, "dtype", None) == tf.string):
            yield step, behind
    if not found:
        raise NotApplicable("the dataset has no map function that can be seen")


def _is_image(spec: Any) -> bool:
    rank = getattr(getattr(spec, "shape", None), "rank", None)
    return rank in (3, 4) and getattr(spec, "dtype", tf.string) != tf.string


def _elements(step: Step, count: int) -> list[Any]:
    """Returns up to `count` elements of the dataset before the map."""
    return list(step.source.take(count))


def _varies(
    run: Callable[[Step, Any, int], list[np.ndarray]], step: Step, clock: Clock, elements: Sequence[Any] | None = None
) -> bool:
    """Returns whether the map gives different images for one element.

    A function that cannot be called in this way counts as one that does not vary.

    Args:
      elements: those to call it with; None for the first ones of the dataset.
    """
    try:
        for element in _elements(step, ELEMENTS) if elements is None else elements:
            clock.check()
            if tfdata_steps.differ(run(step, element, TIMES)):
                return True
    except (tf.errors.OpError, ValueError, TypeError, AttributeError, RuntimeError):  # an eager call may raise any
        return False
    return False


def _repeats(step: Step) -> bool:
    """Returns whether two passes over the same elements give the same images.

    This is so with a seed that starts again with each pass.
    """
    elements = step.source.take(ELEMENTS)
    again = elements.map(step.function)
    one, two = ([np.asarray(tf.nest.flatten(e)[0]) for e in again] for _ in range(2))
    return len(one) > 0 and all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def _meant_for_rare(function: Callable[..., Any] | None) -> str:
    """Returns what in a function's code shows that it is meant for one class.

    This is its name, or a comparison with the label; "" where the code shows neither.
    """
    name = getattr(function, "__name__", "")
    if MEANT_RARE.search(name.lower()):
        return f"its name is {name}"
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError, ValueError):  # the source is missing, or is a lambda inside a call
        return ""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    if not functions or len(functions[0].args.args) < 2:
        return ""
    label = functions[0].args.args[1].arg
    for node in ast.walk(functions[0]):
        if isinstance(node, ast.Compare) and any(isinstance(n, ast.Name) and n.id == label for n in ast.walk(node)):
            return f"it asks for {ast.unparse(node)}"
    return ""


def _weighs(subject: Subject) -> bool:
    """Tells whether the training gives the classes or the images weights."""
    training, train = subject.training, subject.train
    weights = training is not None and bool(training.class_weight or training.sample_weight is not None)
    return weights or (train is not None and any(batch.w is not None for batch in train.sample.batches))


def _said_unbalanced(function: Callable[..., Any] | None) -> str:
    """Returns the comment in a function's file that calls the classes unbalanced.

    Its line stands before it. The result is "" where no comment says so.
    """
    try:
        file = inspect.getsourcefile(function) or ""  # type: ignore[arg-type]
        lines = inspect.findsource(function)[0]  # type: ignore[arg-type]
        if any(part in file for part in exceptions.LIBRARIES):
            return ""
        for token in tokenize.generate_tokens(iter(lines).__next__):
            if token.type == tokenize.COMMENT and SAID_UNBALANCED.search(token.string.lower()):
                return f"line {token.start[0]} says {token.string.strip('# ')[:80]!r}"
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):  # the source is missing, or is no file
        return ""
    return ""


def _share_by_class(run: Callable[[Step, Any, int], list[np.ndarray]], step: Step, clock: Clock) -> dict[int, float]:
    """Returns class id -> share of its images that the map changes at random.

    Up to PER_CLASS images of each class are tried, from the first SEARCHED elements.
    """
    changed: dict[int, list[bool]] = {}
    for element in step.source.take(SEARCHED):
        clock.check()
        images, labels = tf.nest.flatten(element)[:2]
        batched = len(images.shape) == 4
        ids = class_ids(np.asarray(labels) if batched else np.asarray(labels)[None])
        wanted = [i for i, label in enumerate(ids) if len(changed.get(int(label), ())) < PER_CLASS]
        if not wanted:
            continue
        results = run(step, element, TIMES)
        for i in wanted:
            changed.setdefault(int(ids[i]), []).append(
                tfdata_steps.differ([result[i] if batched else result for result in results])
            )
    return {label: float(np.mean(values)) for label, values in changed.items()}


def _contrast(image: np.ndarray) -> float:
    return float(np.asarray(image, np.float64).std() / max(1e-9, _unit_of(image)))


def _unit_of(image: np.ndarray) -> float:
    """Returns 255 for images of the range 0..255, else 1.

    Both occur, because augmentation may come before or after the scaling.
    """
    return 255.0 if float(np.max(np.abs(np.asarray(image, np.float64)))) > 3 else 1.0


def where(step: Step) -> str:
    function = step.function
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(function, "__code__", None)
    return f"The map {name}" + (f" ({code.co_filename.rpartition('/')[2]}, line {code.co_firstlineno})" if code else "")


def _frozen(step: Step) -> Finding:
    return catalogue.found(
        "augmentation-frozen",
        f"{where(step)} gives different images when it is called in Python, and {TIMES} times the same one "
        "as the dataset runs it.",
        case="traced",
    )


def _tossed_once(step: Step) -> Finding:
    return catalogue.found(
        "augmentation-frozen",
        f"{where(step)} is random, but tracing it several times gives different graphs: its Python code decides once, "
        "for all images and epochs, which part of it runs.",
        case="tossed",
    )


def _cached(step: Step) -> Finding:
    return catalogue.found(
        "augmentation-frozen", f"{where(step)} is random, and .cache() comes after it.", case="cached"
    )


def _seeded(step: Step) -> Finding:
    return catalogue.found(
        "augmentation-frozen",
        f"{where(step)} is random with a seed, and nothing is shuffled before it: two passes over the same "
        f"{ELEMENTS} elements gave the same images.",
        case="seeded",
    )


def _on_all(
    step: Step, reason: str, said: str, subject: Subject, shares: dict[int, float], common: int, rare: int
) -> Finding:
    names = {label: state.label_name(label, subject.labels, quoted=True) for label in (common, rare)}
    return catalogue.found(
        "augmentation-all-classes",
        f"{where(step)}: {reason or said}, yet it changes {shares[common]:.0%} of the tried images of "
        f"{names[common]}, the commonest class, and {shares[rare]:.0%} of those of {names[rare]}, the rarest.",
        case="meant" if reason else "unbalanced",
    )


def _destroyed(step: Step, after: list[np.ndarray], before: list[np.ndarray], share: float) -> Finding:
    shown = {}
    for i in range(0, min(len(after), 4 * TIMES), TIMES):
        for caption, image in ((f"{i // TIMES}, before", before[i]), (f"{i // TIMES}, after", after[i])):
            shown[caption] = image[0] if image.ndim == 4 else image
    return catalogue.found(
        "augmentation-destroys",
        f"{where(step)}: {share:.0%} of {len(after)} augmented images have less than {WASHED_OUT:.0%} of the "
        "contrast that they had.",
        charts=[Chart("augmentation", PICTURES, shown)],
    )


PROBES = (
    Probe("augmentation that differs in each epoch", frozen, ("dataset",), 10.0),
    Probe("augmentation in validation", in_validation, ("validation",), 5.0),
    Probe("augmentation of the intended class", on_all_classes, ("dataset",), 5.0),
    Probe("augmentation that keeps the picture", destroying, ("dataset",), 5.0),
)
