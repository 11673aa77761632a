"""Declares the options of `prepare`.

A dataclass for each group of options, and one that joins them all.

The command line, the help text and the reading of --config are made from the fields. Begin in `prepare_config`: it has
the checks across groups, and the values of the other rooms that are made of the options. `input_options`,
`table_options`, `pixel_options`, `split_options` and `run_options` declare the fields, each with its own checks. This
room imports nothing heavy.
"""

from pipelines.config.input_options import READING
from pipelines.config.prepare_config import PrepareConfig
from pipelines.config.split_options import AUGMENT_DEFAULTS

__all__ = ["AUGMENT_DEFAULTS", "READING", "PrepareConfig"]
