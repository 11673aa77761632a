"""Cores and memory within control groups, of which a folder of files is made."""

import os
import pathlib

import pytest

from pipelines.core import machine

GIB = 1 << 30
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def of_many(monkeypatch):
    """A machine of 64 cores and 256 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 256 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


def groups(root: pathlib.Path, member: str, files: dict[str, str]) -> pathlib.Path:
    """Writes /proc/self/cgroup and files below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": member, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.usefixtures("of_many")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("9900000 100000", 64),
     ("50000", 64), ("", 64), ("200000 0", 64), ("a b", 64)],
)  # fmt: skip
def test_the_quota_of_a_container(tmp_path, quota, cores):
    assert machine.cores(groups(tmp_path, "0::/\n", {"cpu.max": quota})) == cores


@pytest.mark.usefixtures("of_many")
@pytest.mark.parametrize(
    ("limit", "size"), [("max\n", 256), (f"{4 * GIB}\n", 4), (f"{999 * GIB}\n", 256), ("0\n", 256), ("", 256)]
)
def test_the_memory_of_a_container(tmp_path, limit, size):
    assert machine.memory_bytes(groups(tmp_path, "0::/\n", {"memory.max": limit})) == size * GIB


@pytest.mark.usefixtures("of_many")
def test_the_lowest_limit_of_all_groups_above_applies(tmp_path):
    files = {
        "a.slice/cpu.max": "300000 100000", "a.slice/b.scope/cpu.max": "max 100000",
        "a.slice/memory.max": "max", "a.slice/b.scope/memory.max": str(8 * GIB), "other/memory.max": "1",
    }  # fmt: skip
    root = groups(tmp_path, "0::/a.slice/b.scope\n", files)

    assert machine.cores(root) == 3
    assert machine.memory_bytes(root) == 8 * GIB


V1 = "12:cpuset:/docker/0a1b\n4:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n1:name=systemd:/\n0::/\n"


@pytest.mark.usefixtures("of_many")
@pytest.mark.parametrize("below", ["", "docker/0a1b/"])  # as the container sees its group, and as its machine does
def test_version_1(tmp_path, below):
    files = {
        f"cpu,cpuacct/{below}cpu.cfs_quota_us": "400000\n", f"cpu,cpuacct/{below}cpu.cfs_period_us": "100000\n",
        f"memory/{below}memory.limit_in_bytes": f"{16 * GIB}\n",
    }  # fmt: skip
    root = groups(tmp_path, V1, files)

    assert machine.cores(root) == 4
    assert machine.memory_bytes(root) == 16 * GIB


@pytest.mark.usefixtures("of_many")
def test_version_1_without_limits(tmp_path):
    files = {
        "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
    }  # fmt: skip
    root = groups(tmp_path, V1, files)

    assert machine.cores(root) == 64
    assert machine.memory_bytes(root) == 256 * GIB


@pytest.mark.usefixtures("of_many")
def test_a_path_outside_of_the_container_leads_nowhere_else(tmp_path):
    (tmp_path / "root").mkdir()
    root = groups(tmp_path / "root", "0::/../../../../other\n1:bad\n\n", {"cpu.max": "500000 100000"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/cpu.max").write_text("100000 100000")

    assert machine.cores(root) == 5


def test_a_machine_without_control_groups(tmp_path):
    assert machine.cores(tmp_path) == CORES
    assert machine.memory_bytes(tmp_path) == MEMORY


def test_this_machine():
    assert 1 <= machine.cores() <= CORES
    assert 0 < machine.memory_bytes() <= MEMORY
