"""Exports `prepare` under its public name.

The function makes a complete dataset. `python -m pipelines.prepare` is `python -m pipelines prepare`: without this,
Python would run the module, do nothing and report success.
"""

import sys

from pipelines.cli.main import main
from pipelines.job.prepare import Result, prepare

__all__ = ["Result", "prepare"]

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
