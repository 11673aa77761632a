"""Executes an ablation: prepares datasets, trains the variants, writes the report."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.core.files import atomic
from pipelines.options.config_fields import flag
from trainer.ablation import datasets, report, trainings
from trainer.ablation.config import AblateConfig, check_data
from trainer.ablation.study import Setting, Study
from trainer.ablation.trainings import Outcome
from trainer.ablation.variants import Variant
from trainer.config import TrainerError

_log = logging.getLogger(__name__)

OPTIONS = "ablation-options.json"


def ablate(config: AblateConfig) -> Study:
    """Prepares the datasets, trains all variants and compares them.

    It writes ablation.json, .png, .md and .html after every round of seeds. Finished datasets and trainings are kept:
    the same command continues an interrupted ablation, and a command with more --seeds or other --variants reuses
    them. The report covers the requested variants.

    Raises:
      TrainerError, ContractError: the data, an option or the content of --output cannot be used, or a training failed.
    """
    tf.get_logger().setLevel(logging.ERROR)  # it warns of retraced functions, and every training traces its own
    check_data(config)
    _begin(config)
    variants = config.chosen()
    directories = datasets.prepare(config, [v.preparation for v in variants])
    datasets.check_alike(directories, datasets.records)
    first = next(iter(directories.values()))
    setting = Setting(_name(config), contracts.load(first), trainings.truth(first), config.decisive())
    images = datasets.train_images(first)
    outcomes: list[Outcome] = []
    jobs = [(variant, seed) for seed in range(config.seeds) for variant in variants]
    for number, (variant, seed) in enumerate(jobs, 1):
        left = _left(outcomes, jobs[number - 1 :])
        _log.info("training %d/%d, %s, seed %d%s", number, len(jobs), variant.name, seed, left)
        outcomes.append(trainings.run(config, variant, seed, directories[variant.preparation.name], images))
        if variant is variants[-1]:  # a round is complete: write the report now, in case a later training fails
            _write(config, Study.of(setting, variants, outcomes))
    return Study.of(setting, variants, outcomes)


def _begin(config: AblateConfig) -> None:
    """Creates the output directory, or checks that it holds a compatible ablation.

    Raises:
      TrainerError: it holds an ablation with other options, or other files.
    """
    directory, note = Path(config.output), Path(config.output) / OPTIONS
    if note.is_file():
        earlier = json.loads(note.read_text(encoding="utf-8"))
        missing = {"init_weights": ""}  # an ablation of before this option
        earlier = missing | earlier
        differing = [name for name, value in config.decisive().items() if earlier.get(name) != value]
        if differing:
            said = ", ".join(f"{flag(name)} {json.dumps(earlier.get(name), ensure_ascii=False)}" for name in differing)
            raise TrainerError(
                f"--output {config.output!r} holds an ablation with {said}. Give the same options, or another --output."
            )
        return
    if directory.is_dir() and any(directory.iterdir()):
        raise TrainerError(
            f"--output {config.output!r} should be empty, new, or an earlier ablation. It holds something else: choose "
            "another directory."
        )
    directory.mkdir(parents=True, exist_ok=True)
    atomic.write_text(note, json.dumps(config.decisive(), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _name(config: AblateConfig) -> str:
    return os.path.basename(os.path.normpath(config.data)) or config.data


def _left(done: list[Outcome], jobs: list[tuple[Variant, int]]) -> str:
    """Returns the expected time of the remaining jobs, as text.

    A job is expected to take as long as the last training of its variant, or the mean of all if there was none.
    """
    took: dict[str, float] = {
        o.variant: o.seconds for o in done
    }  # a later training replaces an earlier one, because the very first also loads TensorFlow
    if not took:
        return ""
    mean = sum(took.values()) / len(took)
    seconds = sum(took.get(variant.name, mean) for variant, _ in jobs)
    return f"; about {seconds / 60:.0f} min left" if seconds >= 90 else f"; about {seconds:.0f} s left"


def _write(config: AblateConfig, study: Study) -> None:
    directory = Path(config.output)
    content = json.dumps(study.to_dict(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic.replacing(directory / "ablation.png") as file:
        file.write(report.png(study))
    atomic.write_text(directory / "ablation.md", report.markdown(study))
    atomic.write_text(directory / "ablation.html", report.page(study))
    atomic.write_text(directory / "ablation.json", content)
