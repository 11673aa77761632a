"""Reads how many cores and how much memory this process may use.

Containers and job schedulers limit both with Linux control groups (cgroups), which neither `os.cpu_count` nor `sysconf`
knows. A limit of a group also applies to the groups below it. Version 2 and version 1 of cgroups are read
(https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/).
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path("/")


def cores(root: pathlib.Path = ROOT) -> int:
    """Returns the number of cores that this process may use, at least 1.

    It is limited by the affinity (`taskset`, cpusets) and by the CPU quota of a container. A quota of 1.5 cores counts
    as two, because one worker could not use it.

    Args:
      root: The folder that holds proc/ and sys/.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups(root, "cpu"):
        for quota, period in (_words(group / "cpu.max"), _quota_1(group)):
            if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and -1 mean no limit
                found = min(found, math.ceil(int(quota) / int(period)))
    return max(found, 1)


def memory_bytes(root: pathlib.Path = ROOT) -> int:
    """Returns the memory that this process may use, in bytes.

    It is the memory of the machine, or the limit of a container if that is lower.

    Args:
      root: The folder that holds proc/ and sys/.
    """
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _words(group / name)[0]
            if limit.isdecimal() and int(limit):
                found = min(found, int(limit))
    return found


def _groups(root: pathlib.Path, controller: str) -> Iterator[pathlib.Path]:
    """Yields the folders whose limits of a controller may apply to this process.

    They are the folders of its group and of all groups above. In a container the path of the group may be that of the
    machine, which is not visible there. Then only the container's own folder exists, which is the uppermost.
    """
    mounted = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError):  # there is no such file on macOS
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            if not controllers:  # version 2
                tops = [mounted]
            elif controller in controllers.split(","):
                tops = [mounted / controllers, mounted / controller]
            else:
                continue
            group = pathlib.PurePosixPath(os.path.normpath(f"/{path.strip('/')}")).relative_to("/")
            for top in tops:
                yield from (top / part for part in (group, *group.parents))


def _quota_1(group: pathlib.Path) -> tuple[str, str]:
    return _words(group / "cpu.cfs_quota_us")[0], _words(group / "cpu.cfs_period_us")[0]


def _words(path: pathlib.Path) -> tuple[str, str]:
    """Returns the first two words of a file, or empty strings for missing ones."""
    try:
        first, second = (*path.read_text(encoding="utf-8", errors="replace").split()[:2], "", "")[:2]
    except OSError:
        return "", ""
    return first, second
