"""The base install reads datasets; each extra names what its program imports besides."""

from __future__ import annotations

import ast
import functools
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest

from pipelines.core import extras
from tests.support.datasets import write_dataset
from trainer.config import LOGS, NO_LOG

ROOT = pathlib.Path(__file__).parents[1]
# Imported, but brought along by a package that a requirement names.
BROUGHT_BY = {
    "botocore": {"boto3"},
    "google": {"apache-beam", "tensorflow"},  # protobuf; Beam also brings the clients of Google's clouds
    "grpc": {"apache-beam"},
    "h5py": {"tensorflow"},
    "keras": {"tensorflow"},
    "markupsafe": {"jinja2"},
}


def named(extra: str) -> set[str]:
    lines = (ROOT / f"requirements-{extra}.in").read_text().splitlines()
    found = (re.match(r"[a-z0-9-]+", line) for line in lines)
    return {match[0] for match in found if match}


def imported(*folders: str) -> Iterator[tuple[str, str]]:
    """(file, library) of every import of a library, inside functions too."""
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names}:
                if name not in (*sys.stdlib_module_names, "pipelines", "trainer"):
                    yield str(path.relative_to(ROOT)), name


PACKAGES = functools.cache(metadata.packages_distributions)  # reads the files of all that is installed


def packages(library: str) -> set[str]:
    """The names that the requirement of a library may have."""
    of = BROUGHT_BY[library] if library in BROUGHT_BY else set(PACKAGES().get(library, []))
    return {name.lower().replace("_", "-") for name in of}


@pytest.mark.parametrize(("folder", "extra"), [("pipelines", "prepare"), ("trainer", "train")])
def test_the_requirements_of_a_program_name_every_library_that_it_imports(folder, extra):
    known = named("read") | named(extra) | named("aws") | named("onnx") | named("heif")
    lacking = {(file, name) for file, name in imported(folder) if not packages(name) & known}
    assert lacking == set()


def test_every_requirement_is_used():
    used = {package for _, name in imported("pipelines", "trainer") for package in packages(name)}
    given = named("read") | named("prepare") | named("train") | named("aws") | named("onnx") | named("heif")
    assert given - used == set()


@pytest.mark.parametrize("tracker", [name for name in LOGS if name != NO_LOG])
def test_each_tracker_is_an_extra(tracker):
    assert named(tracker) == {tracker}  # imported by its name, so that no import statement shows it


def test_the_lock_file_is_of_the_base_and_both_programs():
    text = (ROOT / "requirements.in").read_text()
    assert re.findall(r"^-r (.+)$", text, re.MULTILINE) == [
        "requirements-read.in", "requirements-prepare.in", "requirements-train.in", "requirements-heif.in",
    ]  # fmt: skip
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert named("read") | named("prepare") | named("train") | named("heif") <= locked


def test_a_command_knows_the_libraries_of_the_extras():
    libraries = {name for _, name in imported("pipelines", "trainer")} - set(BROUGHT_BY)
    ours = named("prepare") | named("train")
    assert {name for name in libraries if packages(name) & ours} == extras._LIBRARIES


# ---- the base install: Python with none of the extras' libraries

BASE = f"""
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
sys.modules.update(dict.fromkeys({sorted(extras._LIBRARIES)!r}))  # importing them now raises ModuleNotFoundError
"""
READ = """
import json
from pipelines import contract
from trainer import dataset
for directory in sys.argv[1:]:
    labels = [int(label) for _, batch in dataset.load(directory, "test", 5) for label in batch]
    print(json.dumps([contract.load(directory).name, sorted(labels)]))
"""
COMMAND = "from trainer.cli.shardmill import main; sys.exit(main())"


def base(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BASE + code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_base_install_reads_a_dataset(tmp_path):
    encodings = ("float16", "uint8", "jpeg")
    for encoding in encodings:
        write_dataset(tmp_path / encoding, encoding=encoding)
    done = base(READ, *(str(tmp_path / encoding) for encoding in encodings))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == 3 * [["tiny", [0] * 9 + [1] * 3]]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "told"), [("verify", "Intact: 30 records"), ("inspect", "dataset")])
def test_the_base_install_looks_at_a_dataset(command, told):
    done = base(COMMAND, command, str(ROOT / "tests/data/format_1/uint8"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (["prepare", "--input=photos", "--output=out"], "apache_beam|PIL", "prepare"),
        (["sample", "--output=out"], "PIL", "prepare"),
        (["inspect", "data", "--images=sheet.png"], "PIL", "prepare"),
        (["train", "--data=data", "--output=run"], "jinja2|matplotlib|PIL|scipy", "train"),
        (["ablate", "--data=photos"], "jinja2|matplotlib|PIL", "all"),
    ],
)
def test_a_command_of_an_extra_says_what_to_install(photos, tmp_path, arguments, library, extra):
    write_dataset(tmp_path / "data")
    (tmp_path / "photos").symlink_to(photos)
    code = f"sys.path.insert(0, {str(ROOT)!r}); os.chdir({str(tmp_path)!r}); {COMMAND}"
    done = base(code, *arguments)
    assert done.returncode == 1
    assert re.search(
        rf"this command needs ({library}), which is not installed: this is Shardmill without the extra '{extra}'\. "
        rf"Install it with: pip install 'shardmill\[{extra}\]'\n$",
        done.stderr,
    ), done.stderr
    assert "Traceback" not in done.stderr
