"""Defines how much one image may take while it is read.

It imports nothing heavy, so that the configuration can hand it out.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits what reading and decoding one image may take.

    An image that exceeds a limit is a reject.

    max_frames: most frames of an animation or a TIFF; only the first is used.
    image_timeout: seconds in a worker process.
    image_memory: bytes of memory in a worker process.
    inside: folder that a file has to lie in when it is read, links followed; "" permits any. It is no limit of the
      image, so `noted` leaves it out. It takes part in ==: a worker keeps the settings that equal those it has.
    """

    max_pixels: int = 64 << 20
    max_frames: int = 1000
    max_file_bytes: int = 256 << 20
    image_timeout: float = 60.0
    image_memory: int = 1 << 30
    inside: str = ""

    def noted(self) -> dict[str, float]:
        """Returns the limits of an image by name, as a later run compares them.

        The input may have moved since.
        """
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "inside"}
