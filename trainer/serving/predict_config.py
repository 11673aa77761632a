"""Defines what one file of `python -m trainer predict` may take.

It also has the word for no answer. This module does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses

from pipelines.options import config_fields, option_syntax
from pipelines.options.config_fields import Range, option

ABSTAINED = "(none)"  # stands for the answer of a model that abstains; no folder of a class is called so


@dataclasses.dataclass(frozen=True)
class FileBounds:
    """Limits the reading and decoding of one file.

    The options of `prepare` with these names mean the same.

    Raises:
      ConfigError: a value is out of its range; the message names the option.
    """

    image_timeout: float = option(
        60.0,
        "number of seconds that reading and decoding a file may take; a file that takes longer is an error",
        metavar="SECONDS",
        limits=Range(0.001, 86_400),
    )
    image_memory: int = option(
        1 << 30,
        "memory that decoding a file may take, in bytes or with K, M or G; a file that takes more is an error; Linux "
        "only",
        syntax=option_syntax.BYTES,
        limits=Range(16 << 20, 1 << 50),
    )

    def __post_init__(self) -> None:
        config_fields.check(self)
