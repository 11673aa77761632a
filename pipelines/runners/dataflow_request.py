"""What a job that is sent to a service says of the machine that sends it: nothing.

Beam puts all options into the request, the paths of local files among them, and into pickled functions the paths of
their sources. No worker has use of either, and they tell a user's name and folders.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from apache_beam.internal import cloudpickle_pickler
from apache_beam.options.pipeline_options import PipelineOptions

# What Beam reads before it sends the job, and nobody afterwards.
_KEPT_HERE = (
    "setup_file", "requirements_file", "requirements_cache", "extra_packages", "files_to_stage", "sdk_location",
    "dataflow_job_file",
)  # fmt: skip


class SentOptions(PipelineOptions):
    """Beam's options, of which those stay here that name local files."""

    def get_all_options(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """All that are sent, by name."""
        found = super().get_all_options(*args, **kwargs)
        return {name: value for name, value in found.items() if name not in _KEPT_HERE}


def hide_paths() -> None:
    """Has functions be pickled with their source's path below its import root, which is what a traceback shows."""
    for config in (cloudpickle_pickler.DEFAULT_CONFIG, cloudpickle_pickler.STABLE_CODE_IDENTIFIER_CONFIG):
        config.filepath_interceptor = below_root


def below_root(path: str) -> str:
    """ "apache_beam/transforms/core.py" of the path where a module of that name was found."""
    roots = [root for root in map(os.path.abspath, sys.path) if path.startswith(root + os.sep)]
    return os.path.relpath(path, max(roots, key=len)) if roots else os.path.basename(path)
