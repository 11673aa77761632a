"""Installs both programs; also what a distributed Beam runner ships to its workers (--setup_file)."""

import pathlib

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (line.split("#")[0].strip() for line in (here / name).read_text().splitlines())
    return [line for line in lines if line]


setup(
    name="shardmill",
    version="0.1.0",
    description="Images to balanced, normalized, sharded TFRecords with a contract, and the trainer that enforces it",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipelines", "pipelines.*", "trainer", "trainer.*"]),
    package_data={"": ["*.j2", "*.toml"]},
    install_requires=requirements("requirements.in"),
    extras_require={"aws": requirements("requirements-aws.in"), "onnx": requirements("requirements-onnx.in")},
)
