"""Re-exports `prepare`, the function that runs a whole preparation, under its public name."""

from pipelines.job.prepare import Result, prepare

__all__ = ["Result", "prepare"]
