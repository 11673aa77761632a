"""Decides from the measured rates whether training waits for its input.

Three rates answer the question: the loader alone, the model alone on a batch that is already in memory, and both
together, with the time that each step was blocked in `next(iterator)`. This module does not import TensorFlow;
`measure` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipelines.contract import RAW_DTYPES
from pipelines.core.text import plural
from trainer.bench.config import BenchConfig
from trainer.config import NO_CACHE

COMPUTE_BOUND = 0.02  # share of time spent waiting: a smaller one cannot be separated from the noise of a machine
INPUT_BOUND = 0.10  # share of time spent waiting: from this share on, the input limits the training


@dataclasses.dataclass(frozen=True)
class Spread:
    """Holds the median, the smallest and the largest value of the windows."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        ordered = sorted(values)
        middle = len(ordered) // 2
        median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        return cls(median, ordered[0], ordered[-1])


@dataclasses.dataclass(frozen=True)
class Findings:
    """Holds the measured figures.

    Rates are images a second; `to_dict` returns the JSON form.
    """

    records: int  # number of records of the split
    batch_size: int
    encoding: str
    cores: int  # that this process may use
    accelerator: bool  # whether a device other than the CPU was found
    cache: str  # --cache of the decoded images
    mixed_precision: str
    xla: bool  # whether XLA compiled the step
    loader: Spread  # alone, between the first and the last batch of a pass
    loader_cores: float  # mean number of busy cores during that measurement
    first_batch_seconds: float  # from the request to the first batch of the first pass, when no file was read before
    pass_start_seconds: float  # the same for each later pass
    model: Spread  # alone, on one batch in memory
    both: Spread  # the model on batches of the loader
    wait_share: Spread  # share of a step of `both` blocked in next(iterator), minus the cost of next() in memory

    @property
    def loader_rate(self) -> float:
        """Returns the images/s of the loader over complete passes.

        The time includes the wait for the first batch of each pass. An endless run would reach this rate.
        """
        return self.records / (self.pass_start_seconds + self.records / self.loader.median)

    @property
    def ratio(self) -> float:
        """Returns the loader's rate over complete passes, divided by the model's rate.

        Both are measured alone.
        """
        return self.loader_rate / self.model.median

    @property
    def stretch(self) -> float:
        """Returns the time of a step while the loader runs, divided by its time alone.

        It is above 1 if the step and the loader share cores.
        """
        return (1 - self.wait_share.median) * self.model.median / self.both.median

    @property
    def epoch_wait_share(self) -> float:
        """Returns the share of a complete pass that is spent waiting for input.

        The wait for the first batch of the pass is included.
        """
        steps = self.records / self.both.median  # seconds
        return (self.pass_start_seconds + steps * self.wait_share.median) / (self.pass_start_seconds + steps)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Holds the answer of `judge`.

    kind: input-bound, compute-bound or balanced.
    sentence: the reason, in one sentence.
    advice: what to change, the most useful first.
    """

    kind: str
    sentence: str
    advice: tuple[str, ...]


def judge(found: Findings) -> Verdict:
    """Decides the verdict from the share of time spent waiting for input.

    The two rates only show how large the difference is and what can be gained.
    """
    wait = found.epoch_wait_share
    measured = (
        f"the loader gives {found.loader_rate:,.0f} images/s, {found.ratio:.3g} times the {found.model.median:,.0f} "
        f"of the model, and {wait:.1%} of an epoch is spent waiting for input"
    )
    if wait >= INPUT_BOUND:
        text = f"Input-bound: {measured}, so the device is idle for that long, and training could be {_gain(found)} "
        text += "times as fast."
        return Verdict("input-bound", text, (*_pass_start(found), *_feed_faster(found), *_shared(found)))
    if wait < COMPUTE_BOUND:
        text = f"Compute-bound: {measured}, so only a cheaper model or a faster device trains faster."
        return Verdict("compute-bound", text, (*_compute_less(found), *_shared(found)))
    text = f"Balanced: {measured}, so a faster loader or a faster device alone gains little."
    return Verdict("balanced", text, (*_pass_start(found), *_feed_faster(found), *_shared(found)))


def _gain(found: Findings) -> str:
    return f"{1 / max(1 - found.epoch_wait_share, 1e-3):.3g}"


def _pass_start(found: Findings) -> list[str]:
    if found.epoch_wait_share - found.wait_share.median < COMPUTE_BOUND:
        return []
    return [
        f"each pass begins with {found.pass_start_seconds:.2g} s of waiting for its first batch, and the wait for "
        f"each later batch is {found.wait_share.median:.1%} of a step: the start matters less in a split of more than "
        f"{found.records:,} records"
    ]


def _feed_faster(found: Findings) -> list[str]:
    advice = []
    if found.encoding not in RAW_DTYPES and found.cache == NO_CACHE:
        advice.append("--cache memory: each image is decoded once, and then copied")
    if found.encoding not in RAW_DTYPES:
        advice.append("prepare with --encoding uint8: nothing to decode in every epoch, for more bytes on disk")
    elif found.encoding != "uint8":
        part = {"float16": "half", "float32": "a quarter"}[found.encoding]
        advice.append(f"prepare with --encoding uint8: {part} of the bytes to read, shuffle and send to the device")
    if found.loader_cores < 0.5:
        advice.append(
            f"put the dataset on a faster disk: alone, the loader kept {found.loader_cores:.1f} of "
            f"{plural(found.cores, 'core')} busy, so it waits for its files"
        )
    elif found.loader_cores >= 0.8 * found.cores:
        advice.append(
            f"give the loader more cores: alone, it kept {found.loader_cores:.1f} of {plural(found.cores, 'core')} busy"
        )
    if found.batch_size < 128:
        advice.append(f"raise --batch-size (now {found.batch_size}): each batch has a fixed cost, in loader and model")
    advice.append(f"or use the wait: a model up to {_gain(found)} times as expensive trains in the same time")
    return advice


def _compute_less(found: Findings) -> list[str]:
    advice = []
    if found.ratio > 1.05:
        advice.append(f"the loader could feed a device up to {found.ratio:.3g} times as fast")
    if found.accelerator and found.mixed_precision == "none":
        advice.append("--mixed-precision bfloat16, or float16 on GPUs before 2020: half of the memory traffic")
    if found.accelerator and not found.xla:
        advice.append("--jit on: XLA fuses what lies between convolutions (it may need --no-deterministic)")
    if not found.accelerator:
        advice.append("train on a GPU: none was found, and the loader would have all cores to itself")
    if found.batch_size < 128:
        advice.append(f"raise --batch-size (now {found.batch_size}) if memory allows: large steps use a device better")
    advice.append("use a smaller --model, or smaller images (prepare with another --size)")
    return advice


def _shared(found: Findings) -> list[str]:
    if found.accelerator or found.stretch < 1.1:
        return []
    return [
        f"while the loader runs, a step takes {found.stretch:.2f} times as long as alone, because they share "
        f"{plural(found.cores, 'core')}; both would be faster with more cores"
    ]


def table(found: Findings) -> str:
    """Formats the figures as a table."""
    rows = [
        (name, f"{spread.median:,.0f}", f"({spread.least:,.0f} to {spread.greatest:,.0f})")
        for name, spread in (("loader alone", found.loader), ("model alone", found.model), ("both", found.both))
    ]
    wait = found.wait_share
    lines = [f"{'images/s':<16}{'median':>10}  (least to greatest)"]
    lines += [f"{name:<16}{median:>10}  {spread}" for name, median, spread in rows]
    lines.append(f"{'input wait':<16}{wait.median:>10.1%}  ({wait.least:.1%} to {wait.greatest:.1%}) of a step")
    lines.append(
        f"{'start of a pass':<16}{found.pass_start_seconds:>8.2f} s  until its first batch; "
        f"{found.first_batch_seconds:.2f} s the first time"
    )
    lines.append(
        f"{'complete passes':<16}{found.loader_rate:>10,.0f}  images/s of the loader, "
        f"{found.epoch_wait_share:.1%} input wait, including their starts"
    )
    return "\n".join(lines)


def to_dict(config: BenchConfig, found: Findings, verdict: Verdict, about: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of the --json file.

    It holds the options, the findings, the figures derived from them, the verdict and the machine.
    """
    return {
        "options": dataclasses.asdict(config),
        **dataclasses.asdict(found),
        "loader_rate": found.loader_rate,
        "ratio": found.ratio,
        "stretch": found.stretch,
        "epoch_wait_share": found.epoch_wait_share,
        "verdict": dataclasses.asdict(verdict),
        **about,
    }
