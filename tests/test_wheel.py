"""The wheel holds both programs whole, and runs where nothing but it and the libraries are."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import pipelines

ROOT = pathlib.Path(__file__).parents[1]
BUILT_FROM = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "pipelines", "trainer")
DATA = (".j2", ".toml")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """A wheel, made of a copy by the hook that pip calls: a build leaves files, and takes what an older one left."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in [ROOT / name for name in BUILT_FROM] + sorted(ROOT.glob("requirements*.in")):
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / path.name)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> pathlib.Path:
    """An empty folder with nothing but the wheel."""
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    uv = ["uv", "pip", "install", "--python", sys.executable]  # `make` made an environment without pip with it
    command = pip if importlib.util.find_spec("pip") else uv
    done = subprocess.run(
        [*command, "--no-deps", "--no-index", "--target", str(target), str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target


def run(installed: pathlib.Path, *command: str, cwd: pathlib.Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(installed), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_both_packages(wheel):
    ours = [path for folder in ("pipelines", "trainer") for path in (ROOT / folder).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in ours if path.suffix in (".py", *DATA)}
    others = {path.suffix for path in ours if "__pycache__" not in path.parts} - {".py", *DATA}
    assert others == set(), "setup.py's package_data and this test should know them"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert held == expected
        for name in held:
            assert archive.read(name) == (ROOT / name).read_bytes()


def test_the_wheel_says_what_it_is(wheel):
    folder = f"shardmill-{pipelines.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        about = archive.read(f"{folder}/METADATA").decode().splitlines()
    assert scripts.split() == ["[console_scripts]", "shardmill", "=", "trainer.cli.shardmill:main"]
    assert f"Version: {pipelines.__version__}" in about
    extras = [line.partition(": ")[2] for line in about if line.startswith("Provides-Extra: ")]
    assert sorted(extras) == ["all", "aws", "heif", "mlflow", "onnx", "prepare", "train", "wandb"]
    base = [line for line in about if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert not [line for line in base if "beam" in line or "matplotlib" in line or "transform" in line]
    assert "Requires-Dist: tensorflow==2.21.*" in base


def test_what_is_installed_runs_from_anywhere(installed, tmp_path):
    shown = run(installed, str(installed / "bin/shardmill"), "--help", cwd=tmp_path)
    assert "  prepare " in shown
    assert "  ablate " in shown
    told = run(installed, str(installed / "bin/shardmill"), "--version", cwd=tmp_path)
    assert told == f"shardmill {pipelines.__version__}\n"
    for program in ("pipelines", "trainer", "trainer.task"):
        shown = run(installed, sys.executable, "-m", program, "--help", cwd=tmp_path)
        assert shown.startswith(f"usage: python -m {program} ")


@pytest.mark.slow
def test_what_is_installed_reads_and_prepares(installed, photos, tmp_path):
    """Its own files: templates, the processes of decoders and the loader, and nothing of this checkout."""
    script = str(installed / "bin/shardmill")
    run(installed, script, "prepare", f"--input={photos}", "--output=data", "--size=8x8", "--max-reject-rate=0.1",
        cwd=tmp_path)  # fmt: skip
    assert "</html>" in (tmp_path / "data/report.html").read_text()
    code = """
import json
import pipelines, trainer
from trainer import dataset
count = sum(int(labels.shape[0]) for _, labels in dataset.load("data", "train", 5))
print(json.dumps([pipelines.__file__, trainer.__file__, count]))
"""
    *places, count = json.loads(run(installed, sys.executable, "-c", code, cwd=tmp_path))
    assert places == [str(installed / name / "__init__.py") for name in ("pipelines", "trainer")]
    contract = json.loads((tmp_path / "data/contract.json").read_text())
    assert count == sum(contract["splits"]["train"]["stored"].values())
    assert contract["versions"]["shardmill"] == pipelines.__version__
