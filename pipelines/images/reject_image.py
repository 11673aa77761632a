"""Decides that an image is rejected, by what its bytes raised.

Every reader of the images of strangers catches all exceptions: bad bytes cost one image and never the run. Most of what
is wrong with a file is found in `files/opening`. The two tasks of `prepare` that reject are `fingerprint` of
`job/worker_tasks` and `load` of `records/make_record`.
"""

from __future__ import annotations

from pipelines import storage
from pipelines.core.elements import Ref, Source
from pipelines.core.summary import Rejected
from pipelines.images.files.image_error import ImageError


def reject(image: Source | Ref, split: str, digest: str, stage: str, error: Exception, image_memory: int) -> Rejected:
    """Returns the reject of an image.

    Args:
      split: the name of its split; "" before it has one.
      digest: the SHA-256 of its bytes; "" if they could not be read.
      stage: what was done with it.
      error, image_memory: as of `reason`.
    """
    return Rejected(image.uri, image.label, split, digest, stage, *reason(error, image_memory))


def reason(error: Exception, image_memory: int) -> tuple[str, str]:
    """Returns the reason of the reject, a short stable word, and a sentence.

    Args:
      error: what reading, decoding or resizing raised.
      image_memory: bytes of memory that one image may take.

    Example:
      >>> from pipelines.images.files.image_error import ImageError
      >>> reason(ImageError("truncated", "It ends too early."), 1 << 30)
      ('truncated', 'It ends too early.')
    """
    if isinstance(error, (storage.StorageError, ImageError)):
        return error.reason, str(error)
    if isinstance(error, MemoryError):
        return "out-of-memory", out_of_memory(image_memory)
    said = f"{type(error).__name__}: {str(error)[:300]}"
    return "unexpected-error", f"Reading it led to {said}. Please report this with the file."


def out_of_memory(image_memory: int) -> str:
    """Returns the sentence for an image that needs more memory than allowed."""
    return f"It takes more than {image_memory} bytes of memory (--image-memory), or than the system gives a process."
