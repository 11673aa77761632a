"""Trains as a job of Vertex AI: `python -m trainer.task`, with `train`'s options.

Variables of the job's environment name where files are copied to or read from, on a disk or in a bucket (gs://):

  AIP_MODEL_DIR             the SavedModel is copied here when training is done
  AIP_TENSORBOARD_LOG_DIR   TensorBoard's logs are copied here after every checkpoint
  AIP_CHECKPOINT_DIR        the run directory is copied here after every checkpoint; a restarted job resumes from it
  AIP_TRAINING_DATA_URI     the prepared dataset is read from here if --data is not given

The run itself is written to a local folder: --output or a temporary one. If --output is in a bucket, the run directory
is copied there instead of to AIP_CHECKPOINT_DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipelines import contract as contracts
from pipelines.contract import ContractError
from pipelines.core.console import streams
from pipelines.core.console.terminal import stderr_held
from pipelines.core.files.urls import is_remote
from pipelines.options import command_line
from trainer import recipe
from trainer.cli.commands import guarded
from trainer.config import TrainConfig, TrainerError


class Job(NamedTuple):
    """Describes what to train, and where to copy the run, the model and the logs.

    A place is "" if the environment does not name it.
    """

    config: TrainConfig
    run: str
    model: str
    logs: str


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and returns the exit code."""
    return streams.run(lambda: _main(sys.argv[1:] if argv is None else argv))


def _main(argv: Sequence[str]) -> int:
    text, _, places = (__doc__ or "").partition("\n\n")
    parser = command_line.Parser(
        prog="python -m trainer.task",
        description=text.replace("`", ""),
        epilog=places,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    recipe.add(parser)
    command_line.add_with_file(parser, TrainConfig, "such as config.yaml of an earlier run")
    arguments = vars(parser.parse_args(command_line.dashes(argv)))
    return guarded("task", lambda: run(job(arguments, os.environ)))


def job(arguments: dict[str, Any], environment: Mapping[str, str]) -> Job:
    """Returns the job that flags, the file of --config and the environment describe.

    Raises:
      TrainerError: AIP_TRAINING_DATA_URI names no prepared dataset, or as `command_line.made`.
    """
    name = arguments.pop("recipe", "")
    values, data = command_line.values(TrainConfig, arguments), environment.get("AIP_TRAINING_DATA_URI", "")
    if data:
        values.setdefault("data", data)
    output = values.get("output", "")
    if not output or is_remote(output):
        values["output"] = tempfile.mkdtemp(prefix="shardmill-run-")
    if not values.get("data"):
        command_line.made(TrainConfig, values)  # reports that it is missing
    try:
        contracts.load(values["data"])
    except ContractError as e:
        if values["data"] != data:
            raise
        raise TrainerError(
            "AIP_TRAINING_DATA_URI should be a directory that `python -m pipelines prepare` wrote. Received: "
            f"{data!r}. Vertex AI's own managed datasets are lists of files: prepare them first, and give the result "
            "as --data."
        ) from e
    config = command_line.made(TrainConfig, recipe.filled(values, name))
    place = output if is_remote(output) else environment.get("AIP_CHECKPOINT_DIR", "")
    return Job(config, place, environment.get("AIP_MODEL_DIR", ""), environment.get("AIP_TENSORBOARD_LOG_DIR", ""))


def run(task: Job) -> None:
    """Trains, or resumes the run that an earlier job copied, and copies the results.

    Raises:
      TrainerError: training failed, or a place cannot be read or written.
    """
    with stderr_held():
        from trainer import run_dir
        from trainer.cloud_mirror import Mirror
        from trainer.training import folds
    directory = run_dir.Run(task.config.output)
    kept = [Mirror(task.config.output, task.run)] if task.run else []
    logs = [Mirror(str(directory.logs), task.logs)] if task.logs else []
    config = task.config
    if kept and kept[0].pull():
        config = dataclasses.replace(config, resume=True)

    def push() -> None:
        for mirror in (*logs, *kept):
            mirror.push()

    try:
        folds.run(config, saved=push)
    except TrainerError as e:
        if config.resume == task.config.resume:
            raise
        raise TrainerError(f"{e} ({task.run} holds an earlier run: a new run needs another place.)") from e
    push()
    if task.model:
        Mirror(str(directory.saved_model), task.model).push()
    for what, place in (("run", task.run), ("SavedModel", task.model), ("TensorBoard", task.logs)):
        if place:
            print(f"{what} copied to {place}")


if __name__ == "__main__":
    sys.exit(main())
