"""Reports a training to a tracker of experiments: MLflow or Weights & Biases.

Both are extras of Shardmill, which only --log needs. They find their server, project and key in their own variables
and files, such as MLFLOW_TRACKING_URI and WANDB_API_KEY.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.files import atomic
from pipelines.core.text import first_line
from trainer.config import NO_LOG, TrainerError

_log = logging.getLogger(__name__)
PROJECT = "shardmill"  # of a run in Weights & Biases, where WANDB_PROJECT names none
NOT_METRICS = ("epoch",)


class Client(Protocol):
    """Speaks to one tracker."""

    def begin(self, name: str, options: Mapping[str, Any], earlier: str) -> str:
        """Begins a run, or continues the one with the id `earlier`; returns its id."""

    def metrics(self, values: Mapping[str, float], epoch: int) -> None: ...

    def scores(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        """Takes the scores of the finished run and its files."""

    def end(self, succeeded: bool) -> None: ...


class MLflow:
    """Speaks to MLflow."""

    def __init__(self) -> None:
        self._library: Any = importlib.import_module("mlflow")

    def begin(self, name: str, options: Mapping[str, Any], earlier: str) -> str:
        if earlier:
            return str(self._library.start_run(run_id=earlier).info.run_id)
        started = self._library.start_run(run_name=name)
        self._library.log_params(options)
        return str(started.info.run_id)

    def metrics(self, values: Mapping[str, float], epoch: int) -> None:
        self._library.log_metrics(dict(values), step=epoch)

    def scores(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        self._library.log_metrics(dict(values))
        for file in files:
            self._library.log_artifact(str(file))

    def end(self, succeeded: bool) -> None:
        self._library.end_run("FINISHED" if succeeded else "FAILED")


class Wandb:
    """Speaks to Weights & Biases."""

    def __init__(self) -> None:
        self._library: Any = importlib.import_module("wandb")
        self._run: Any = None

    def begin(self, name: str, options: Mapping[str, Any], earlier: str) -> str:
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        again = {"id": earlier, "resume": "allow"} if earlier else {}
        self._run = self._library.init(project=project, name=name, config=dict(options), **again)
        return str(self._run.id)

    def metrics(self, values: Mapping[str, float], epoch: int) -> None:
        self._run.log(dict(values), step=epoch)

    def scores(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        self._run.summary.update(dict(values))
        made = self._library.Artifact(f"evaluation-{self._run.id}", type="evaluation")
        for file in files:
            made.add_file(str(file))
        self._run.log_artifact(made)

    def end(self, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)


CLIENTS: dict[str, type[MLflow] | type[Wandb]] = {"mlflow": MLflow, "wandb": Wandb}


class Tracker:
    """Reports one training.

    A tracker that fails later is left alone, and the training goes on.
    """

    def __init__(self, client: Client | None = None) -> None:
        self._client = client

    def epoch(self, row: Mapping[str, float]) -> None:
        """Reports the metrics of an epoch, a row of metrics.csv."""
        values = {name: value for name, value in row.items() if name not in NOT_METRICS and math.isfinite(value)}
        self._tell("metrics", values, int(row["epoch"]))

    def finished(self, splits: Mapping[str, Mapping[str, Any]], files: Sequence[Path]) -> None:
        """Reports the scores of a finished run, under SPLIT/NAME, and its files.

        Args:
          splits: those of metrics.json.
        """
        values = {
            f"{split}/{name}": float(value)
            for split, content in splits.items()
            for name, value in content.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._tell("scores", values, [file for file in files if file.is_file()])

    def end(self, succeeded: bool) -> None:
        """Ends the run at the tracker."""
        self._tell("end", succeeded)

    def _tell(self, method: str, *values: Any) -> None:
        if self._client is None:
            return
        try:
            getattr(self._client, method)(*values)
        except Exception as e:  # of foreign packages, most often of the network: hours of training must not end by it
            _log.warning(
                "--log stopped: the tracker could not take what was sent (%s: %s). The training goes on without it, "
                "and the directory of the run has all numbers.",
                type(e).__name__,
                first_line(e),
            )
            self._client = None


def check(name: str) -> None:
    """Raises TrainerError if the package of a tracker cannot be imported."""
    if name != NO_LOG:
        _client(name)


@contextlib.contextmanager
def opened(name: str, directory: Path | None, options: Mapping[str, Any], note: Path | None) -> Iterator[Tracker]:
    """Begins a run at a tracker and ends it after the body, as a context.

    Args:
      name: of the tracker, one of `config.LOGS`. directory: of the run; None on workers that report nothing.
      note: the file that keeps the id at the tracker, so that a resumed run continues there.

    Raises:
      TrainerError: the package is not installed, or the tracker begins no run.
    """
    if name == NO_LOG or directory is None or note is None:
        yield Tracker()
        return
    client = _client(name)
    try:
        kept = client.begin(directory.resolve().name, options, _earlier(note, name))
    except Exception as e:  # of a foreign package: no key, no server, another version
        raise TrainerError(
            f"--log {name} could not begin a run ({type(e).__name__}: {first_line(e)}). Log in there first, or leave "
            "--log out."
        ) from e
    atomic.write_text(note, json.dumps({"tracker": name, "id": kept}) + "\n")
    tracker, succeeded = Tracker(client), False
    try:
        yield tracker
        succeeded = True
    finally:
        tracker.end(succeeded)


def _earlier(note: Path, name: str) -> str:
    """Returns the id that the run has at the tracker already; "" if it has none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(note.read_text(encoding="utf-8"))
        if content["tracker"] == name:
            return str(content["id"])
    return ""


def _client(name: str) -> Client:
    try:
        return CLIENTS[name]()
    except ImportError as e:
        raise TrainerError(
            f"--log {name} needs the package {name} ({first_line(e)}). Install it with: pip install {name}, or leave "
            "--log out."
        ) from e
