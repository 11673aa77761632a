"""Says where Shardmill keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Returns the folder "shardmill" in $XDG_CACHE_HOME or ~/.cache.

    A relative path in $XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification says. The result is None for
    a user without a home: "~" would then be a folder of that name in the current one.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return Path(folder, "shardmill") if os.path.isabs(folder) else None
