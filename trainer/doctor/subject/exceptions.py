"""Explains exceptions from a user's function, dataset or model as findings."""

from __future__ import annotations

import os
import re
import traceback

import trainer
from trainer.doctor import catalogue
from trainer.doctor.finding import Finding

PACKAGE = os.path.dirname(os.path.abspath(trainer.__file__)) + os.sep  # the user's folder may be called trainer as well
LIBRARIES = (f"{os.sep}site-packages{os.sep}", PACKAGE, f"{os.sep}lib{os.sep}python", "<frozen")


def explain(error: BaseException, stage: str) -> Finding:
    """Returns the finding for an exception.

    Args:
      stage: what the doctor was doing, for example "reading the dataset".
    """
    text = _message(error)
    evidence = f"While {stage}: {type(error).__name__}: {text}{_place(error)}"
    for pattern, id_ in KNOWN:
        if re.search(pattern, f"{type(error).__name__}: {error}", re.DOTALL):
            return catalogue.found(id_, evidence)
    return catalogue.found("program-raises", evidence, stage=stage)


# (pattern that matches an exception's type and message, id of the finding)
KNOWN = (
    (
        r"Cannot batch tensors with different shapes|Cannot add tensor to the batch|inhomogeneous shape"
        r"|all input arrays must have the same shape|Shapes of all inputs must match",
        "sizes-differ",
    ),
    (
        r"Shapes used to initialize variables must be fully-defined"
        r"|last dimension of the inputs to a? ?`?Dense`?.*should be defined|Undefined shapes are not supported"
        r"|shape of the input to .?Flatten.?.*not fully defined|should specify a static `input_shape`",
        "size-undefined",
    ),
    (r"output size would be negative|Computed output size|Negative dimension size", "image-too-small"),
    (r"DatasetError", "dataset-form"),
    (r"\b(File)?NotFoundError", "file-missing"),
    (
        r"Unknown image file format|jpeg::Uncompress failed|UnidentifiedImageError|Invalid (JPEG|PNG)",
        "image-undecodable",
    ),
)


def _message(error: BaseException) -> str:
    """Returns the start of a message without the names of TensorFlow's graph nodes.

    Lines are joined by spaces, and the result has at most 400 characters.
    """
    text = re.sub(r"\{\{[^}]*\}\}\s*|\[Op:\w+\]|\bname:\s*$", "", str(error)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines)[:400] or "no message"


def _place(error: BaseException) -> str:
    """Returns the last line of the user's own code in the traceback, or "" if none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in LIBRARIES)]
    if not own:
        return ""
    frame = own[-1]
    name = os.path.relpath(frame.filename) if os.path.isabs(frame.filename) else frame.filename
    return f" (at {name}, line {frame.lineno}: {frame.line})"
