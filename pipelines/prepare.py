"""Exports `prepare` under its public name.

The function makes a complete dataset.
"""

from pipelines.job.prepare import Result, prepare

__all__ = ["Result", "prepare"]
