"""What an exception from a user's function, dataset or model means."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable

import trainer
from trainer.doctor.finding import ERROR, Finding

PACKAGE = os.path.dirname(os.path.abspath(trainer.__file__)) + os.sep  # the user's folder may be called trainer as well
LIBRARIES = (f"{os.sep}site-packages{os.sep}", PACKAGE, f"{os.sep}lib{os.sep}python", "<frozen")


def explain(error: BaseException, stage: str) -> Finding:
    """The finding for an exception. stage: what was being done, such as "reading the dataset"."""
    text = _message(error)
    evidence = f"While {stage}: {type(error).__name__}: {text}{_place(error)}"
    for pattern, make in _KNOWN:
        if re.search(pattern, f"{type(error).__name__}: {error}", re.DOTALL):
            return make(evidence)
    return Finding(
        id="program-raises",
        level=ERROR,
        what=f"The program stops while {stage}",
        evidence=evidence,
        cost="Nothing trains.",
        fix="Mend the line that is named; call the function alone in a Python prompt to see the whole trace.",
        impact=1.0,
    )


def _unbatchable(evidence: str) -> Finding:
    return Finding(
        id="sizes-differ",
        level=ERROR,
        what="The images have different sizes and cannot be put into one batch",
        evidence=evidence,
        cost="Nothing trains: the first batch that holds two sizes stops the program.",
        fix="Give every image one size before .batch(): "
        "image = tf.image.resize(image, (128, 128), antialias=True) in the map that decodes it, or prepare the folder "
        "with `python -m pipelines prepare --size 128x128`.",
        impact=1.0,
    )


def _undefined(evidence: str) -> Finding:
    return Finding(
        id="size-undefined",
        level=ERROR,
        what="Flatten or Dense is built over a size that is not known",
        evidence=evidence,
        cost="The model cannot be built: a Dense layer has one weight for each input, and their number is undefined.",
        fix="Give the input a size, keras.Input((128, 128, 3)), and the images the same one; or put "
        "GlobalAveragePooling2D in the place of Flatten, which works for every size.",
        impact=1.0,
    )


def _too_small(evidence: str) -> Finding:
    return Finding(
        id="image-too-small",
        level=ERROR,
        what="The images are smaller than the network can take",
        evidence=evidence,
        cost="The model cannot be built or run: after its strides and poolings nothing is left of the image.",
        fix="Resize the images to a larger size, or take out poolings or use padding='same'.",
        impact=1.0,
    )


def _missing_file(evidence: str) -> Finding:
    return Finding(
        id="file-missing",
        level=ERROR,
        what="A file or folder that the program reads is not there",
        evidence=evidence,
        cost="Nothing trains.",
        fix="Correct the path; a relative one counts from the folder in which the doctor was started.",
        impact=1.0,
    )


def _undecodable(evidence: str) -> Finding:
    return Finding(
        id="image-undecodable",
        level=ERROR,
        what="A file cannot be decoded as an image",
        evidence=evidence,
        cost="The pass over the dataset ends at this file, in every epoch.",
        fix="Take the file away or decode it in the way of its format; `python -m pipelines prepare` lists such files "
        "in rejects/ and goes on.",
        impact=1.0,
    )


def _not_an_element(evidence: str) -> Finding:
    return Finding(
        id="dataset-form",
        level=ERROR,
        what="The dataset does not give (images, labels) batches",
        evidence=evidence,
        cost="model.fit takes something else for images and labels, or stops.",
        fix="Return a tf.data.Dataset of (images, labels) and call .batch(32) on it once.",
        impact=1.0,
    )


_KNOWN: tuple[tuple[str, Callable[[str], Finding]], ...] = (
    (
        r"Cannot batch tensors with different shapes|Cannot add tensor to the batch|inhomogeneous shape"
        r"|all input arrays must have the same shape|Shapes of all inputs must match",
        _unbatchable,
    ),
    (
        r"Shapes used to initialize variables must be fully-defined"
        r"|last dimension of the inputs to a? ?`?Dense`?.*should be defined|Undefined shapes are not supported"
        r"|shape of the input to .?Flatten.?.*not fully defined|should specify a static `input_shape`",
        _undefined,
    ),
    (r"output size would be negative|Computed output size|Negative dimension size", _too_small),
    (r"DatasetError", _not_an_element),
    (r"FileNotFoundError|NotFoundError", _missing_file),
    (r"Unknown image file format|jpeg::Uncompress failed|UnidentifiedImageError|Invalid (JPEG|PNG)", _undecodable),
)


def _message(error: BaseException) -> str:
    """The first lines that say something, without the names of TensorFlow's graph nodes."""
    text = re.sub(r"\{\{[^}]*\}\}\s*|\[Op:\w+\]|\bname:\s*$", "", str(error)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines)[:400] or "no message"


def _place(error: BaseException) -> str:
    """The last line of the user's own code on the way to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in LIBRARIES)]
    if not own:
        return ""
    frame = own[-1]
    name = os.path.relpath(frame.filename) if os.path.isabs(frame.filename) else frame.filename
    return f" (at {name}, line {frame.lineno}: {frame.line})"
