"""Removes local paths from the requests that are sent to a service.

Beam puts all options into the request, including paths of local files, and puts the paths of their sources into pickled
functions. Workers do not use them, and they reveal a user's name and folders.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from apache_beam.internal import cloudpickle_pickler

from pipelines.runners.beam_options import BeamOptions

# Options that Beam reads before it sends the job, and that nothing reads afterwards.
_KEPT_HERE = (
    "setup_file", "requirements_file", "requirements_cache", "extra_packages", "files_to_stage", "sdk_location",
    "dataflow_job_file",
)  # fmt: skip


class SentOptions(BeamOptions):
    """Holds Beam's options, and does not send those that name local files."""

    def get_all_options(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns all options that are sent, by name."""
        found = super().get_all_options(*args, **kwargs)
        return {name: value for name, value in found.items() if name not in _KEPT_HERE}


def hide_paths() -> None:
    """Makes Beam pickle functions with the source path below its import root.

    Tracebacks then show this path.
    """
    for config in (cloudpickle_pickler.DEFAULT_CONFIG, cloudpickle_pickler.STABLE_CODE_IDENTIFIER_CONFIG):
        config.filepath_interceptor = below_root


def below_root(path: str) -> str:
    """Returns a path relative to the import root under which it was found.

    An example is "apache_beam/transforms/core.py".
    """
    roots = [root for root in map(os.path.abspath, sys.path) if path.startswith(root + os.sep)]
    return os.path.relpath(path, max(roots, key=len)) if roots else os.path.basename(path)
