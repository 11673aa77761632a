"""The directory of a training run: what lies where, and in which order it becomes valid.

metrics.json is removed first and written last: where it is, the run is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.config import TrainConfig, TrainerError


class Run:
    """The paths of one run."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.model = self.directory / "model.keras"
        self.saved_model = self.directory / "saved_model"
        self.metrics = self.directory / "metrics.json"
        self.history = self.directory / "history.csv"
        self.config = self.directory / "config.json"
        self.contract = self.directory / contracts.FILE_NAME
        self.plots = self.directory / "plots"
        self.logs = self.directory / "logs"


def begin(directory: str | os.PathLike[str], config_json: str, contract: Contract) -> Run:
    """Makes the directory ready: an earlier run in it is taken away, anything else is refused."""
    run = Run(directory)
    if run.directory.exists() and not run.directory.is_dir():
        raise TrainerError(f"--output should be a directory. {str(directory)!r} is a file.")
    if run.directory.is_dir() and any(run.directory.iterdir()) and not _is_run(run.config):
        raise TrainerError(
            f"--output should be empty, new, or an earlier training run. {str(directory)!r} holds something else: "
            "choose another directory."
        )
    run.directory.mkdir(parents=True, exist_ok=True)
    run.metrics.unlink(missing_ok=True)
    for folder in (run.saved_model, run.plots, run.logs):  # old event files and plots would pass for this run's
        shutil.rmtree(folder, ignore_errors=True)
    for file in (run.model, run.history):
        file.unlink(missing_ok=True)
    write_text(run.config, config_json)
    write_text(run.contract, contract.to_json())
    return run


def _is_run(config: Path) -> bool:
    """Many programs have a config.json and a folder called plots: only one that reads back as ours may be replaced."""
    try:
        TrainConfig(**json.loads(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False
    return True


def finished(directory: str | os.PathLike[str]) -> Run:
    """The run in a directory; TrainerError where there is none or it did not finish."""
    run = Run(directory)
    missing = [file.name for file in (run.model, run.contract, run.metrics) if not file.is_file()]
    if missing:
        raise TrainerError(
            f"--model should be the --output directory of a finished training run. {str(directory)!r} has no "
            f"{', '.join(missing)}: train first."
        )
    return run


def dataset_digests(contract: Contract) -> dict[str, str]:
    """Names the dataset by content: its sources, its settings, its transform graph, and the contract as a whole."""
    return {
        "name": contract.name,
        "source_digest": contract.source_digest,
        "config_digest": contract.config_digest,
        "transform_digest": contract.transform_digest,
        "contract_sha256": hashlib.sha256(contract.to_json().encode()).hexdigest(),
    }


def versions(*modules: Any) -> dict[str, str]:
    return {module.__name__: str(module.__version__) for module in modules}


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
