"""What shards depend on besides input and options: the versions of libraries, and this code.

A worker elsewhere whose versions are others would make other shards under the same contract: it refuses to start.
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
LIBRARIES = ("tensorflow", "apache-beam", "numpy", "pillow")


@functools.cache
def here() -> Mapping[str, str]:
    """The versions in this process, by name; "shardmill" is a digest of the code, which changes between releases."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "shardmill": _code(), **{name: metadata.version(name) for name in LIBRARIES}}


def check(expected: Mapping[str, str]) -> None:
    """Raises VersionsError where this process has other versions than `expected`, which `here` gave elsewhere."""
    found = here()
    differing = [f"{name} {found.get(name)}, not {want}" for name, want in expected.items() if found.get(name) != want]
    if differing:
        raise VersionsError(
            f"A worker differs from the program that sent the job: {'; '.join(differing)}. Shards depend on these. "
            "Give the workers the same code and requirements.txt: build the image anew, or renew their environment."
        )


def _code() -> str:
    """Returns the first digits of the SHA-256 of all modules of the package `pipelines`, its rooms included."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
