"""Lists the versions of code and libraries on which shards depend.

Shards depend on the input, the options, the versions of libraries and this code. A worker on another machine with
other versions would make different shards under the same contract, so it refuses to start. An unfinished run of other
versions is not resumed, for the same reason (`work_dir.open_work`).
"""

from __future__ import annotations

import functools
import hashlib
import pathlib
import sys
from collections.abc import Mapping
from importlib import metadata

from pipelines.core.errors import VersionsError

PACKAGE = pathlib.Path(__file__).resolve().parents[1]  # the folder of `pipelines`
# TensorFlow Transform is not among them: its job runs on the machine of the program only.
LIBRARIES = ("tensorflow", "apache-beam", "numpy", "pillow")
OPTIONAL = ("pillow-heif",)


@functools.cache
def here() -> Mapping[str, str]:
    """Returns the versions of libraries in this process by name.

    "shardmill" is a digest of the code, because the code changes between releases.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    return {"python": python, "shardmill": _code(), **libraries, **{name: _optional(name) for name in OPTIONAL}}


def _optional(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def check(expected: Mapping[str, str]) -> None:
    """Checks that this process has the `expected` versions.

    Args:
      expected: the result of `here` in the program that sent the job.

    Raises:
      VersionsError: a version differs.
    """
    found = here()
    differing = [f"{name} {found.get(name)}, not {want}" for name, want in expected.items() if found.get(name) != want]
    if differing:
        raise VersionsError(
            f"A worker differs from the program that sent the job: {'; '.join(differing)}. Shards depend on these. "
            "Give the workers the same code and requirements.txt: rebuild the image, or update their environment."
        )


def _code() -> str:
    """Returns the first 12 hex digits of the SHA-256 of all modules of `pipelines`.

    The modules of sub-packages are included.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
