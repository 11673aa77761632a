"""Installs both programs; also what a distributed Beam runner ships to its workers (--setup_file)."""

import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Returns the lines of a file of requirements, without comments."""
    lines = (line.split("#")[0].strip() for line in (here / name).read_text().splitlines())
    return [line for line in lines if line]


def version() -> str:
    """Returns `__version__`, read from the text: importing it would need the checkout on sys.path."""
    text = (here / "pipelines/__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


prepare = requirements("requirements-prepare.in")
train = requirements("requirements-train.in")
aws = requirements("requirements-aws.in")
onnx = requirements("requirements-onnx.in")
heif = requirements("requirements-heif.in")
mlflow = requirements("requirements-mlflow.in")
wandb = requirements("requirements-wandb.in")

setup(
    name="shardmill",
    version=version(),
    description="Images to balanced, normalized, sharded TFRecords with a contract, and the trainer that enforces it",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipelines", "pipelines.*", "trainer", "trainer.*"]),
    package_data={"": ["*.j2", "*.toml"], "trainer.reporting": ["templates/*.j2"]},
    # The base is what a program needs that reads prepared datasets; docs/api.md says what each extra adds.
    install_requires=requirements("requirements-read.in"),
    extras_require={
        "prepare": prepare,
        "train": train,
        "all": sorted({*prepare, *train}),
        "aws": aws,
        "onnx": onnx,
        "heif": heif,
        "mlflow": mlflow,
        "wandb": wandb,
    },
    entry_points={"console_scripts": ["shardmill = trainer.cli.shardmill:main"]},
)
