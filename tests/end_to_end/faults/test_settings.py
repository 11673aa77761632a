"""Settings of the system and of Python that must not change a byte of the shards."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys

import pytest

from tests.support.files.images import draw_photo

ROOT = pathlib.Path(__file__).parents[3]
# NumPy names the features that it can leave out; the C library then chooses other functions, too.
FEATURES = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-ERMS",
}
OTHERS = FEATURES | {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONUTF8": "1", "LANGUAGE": "tr"}


def prepared(photos: pathlib.Path, out: pathlib.Path, *flags: str, **environment: str) -> dict[str, str]:
    """Prepares in a process of its own; returns name -> SHA-256 of the shards and ledgers."""
    done = subprocess.run(
        [sys.executable, *flags, "-m", "pipelines", "prepare", "--input", str(photos), "--output", str(out), "--name=x",
         "--size=24", "--balance=uniform", "--shards=2", "--augment=flip,brightness=0.2,color=0.1"],
        cwd=ROOT, env={k: v for k, v in os.environ.items() if k not in OTHERS} | environment, capture_output=True,
        text=True, timeout=300, umask=0o077 if environment else -1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = [*out.glob("*.tfrecord-*"), *(out / "ledger").iterdir()]
    assert len(files) == 12
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


@pytest.mark.slow
def test_hash_seed_time_zone_locale_umask_optimization_and_processor_change_no_byte(tmp_path):
    for i in range(40):
        draw_photo(tmp_path / "in" / ("İstanbul" if i % 5 else "über") / f"ı{i}.jpg", i, (70, 50))
    usual = prepared(tmp_path / "in", tmp_path / "usual")
    other = prepared(tmp_path / "in", tmp_path / "other", "-O", **OTHERS)
    assert other == usual
    assert (tmp_path / "other/contract.json").stat().st_mode & 0o077 == 0
