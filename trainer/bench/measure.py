"""Measures the loader, the model, and both together, as one training process has them.

Every step is waited for before the next batch is asked for: then the time blocked in `next(iterator)` is time in which
the device does nothing. Without that, a GPU still works on earlier steps while the host already waits for input, and
the wait of the host says little.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.bench.config import BenchConfig, check_split
from trainer.bench.verdict import Findings, Spread
from trainer.config import NO_CACHE, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.models import build
from trainer.training import compiled_steps, mixed_precision, train
from trainer.training.step import TrainedModel, training_model

PROFILED_STEPS = 10
Batch = tuple[tf.Tensor, ...]
Step = Callable[[Batch], None]


@dataclasses.dataclass(frozen=True)
class Window:
    """Means of some steps one after another, in seconds a step."""

    waited: float  # in next(iterator)
    worked: float
    cores: float  # that this process kept busy

    @property
    def step(self) -> float:
        return self.waited + self.worked


class Feed:
    """Batches of one pass after another, each asked for when the one before was used, as `fit` does.

    The first batch of a pass is dropped and its wait kept apart, in `starts`: it belongs to the pass, not to a step.
    """

    def __init__(self, batches: tf.data.Dataset) -> None:
        self.starts: list[float] = []  # seconds to the first batch of each pass
        self._batches = batches
        self._iterator: Any = None

    def take(self) -> tuple[Batch, float]:
        """The next batch, and the seconds that it was waited for."""
        if self._iterator is None:
            self.restart()
        began = time.perf_counter()
        batch = next(self._iterator, None)
        if batch is None:  # the end of a pass
            self.restart()
            began = time.perf_counter()
            batch = next(self._iterator)
        return batch, time.perf_counter() - began

    def restart(self) -> None:
        """Begins a pass and waits for its first batch."""
        self._iterator = None  # gives the threads and buffers of the last pass back
        began = time.perf_counter()
        self._iterator = iter(self._batches)
        next(self._iterator)
        self.starts.append(time.perf_counter() - began)


def measure(feed: Feed, step: Step, seconds: float) -> Window:
    """Feeds the step for about this long, and for two steps at least."""
    waited = worked = 0.0
    steps = 0
    end, cpu, passes = time.perf_counter() + seconds, time.process_time(), len(feed.starts)
    while True:
        batch, wait = feed.take()
        began = time.perf_counter()
        step(batch)
        now = time.perf_counter()
        waited += wait
        worked += now - began
        steps += 1
        if now >= end and steps >= 2:
            wall = waited + worked + sum(feed.starts[passes:])
            return Window(waited / steps, worked / steps, (time.process_time() - cpu) / wall)


def run(config: BenchConfig, say: Callable[[str], None] = print) -> tuple[Findings, dict[str, Any]]:
    """Measures what `config` asks for; writes nothing, but the trace if that is asked for.

    Args:
      config: what to measure.
      say: takes the lines of progress.

    Returns:
      The findings, and what they were measured on: "devices", "network", "parameters", "versions".

    Raises:
      TrainerError, ContractError: the dataset or the model cannot be used, or TensorFlow wrote no trace.
      OSError: the folder for the trace cannot be made.
    """
    contract = contracts.load(config.data)
    check_split(config, contract)
    if config.profile:
        os.makedirs(config.profile, exist_ok=True)  # what cannot be written is told before the work
    setup = TrainConfig(
        data=config.data, output="not written", model=config.model, batch_size=config.batch_size,
        mixed_precision=config.mixed_precision, jit=config.jit, cache=config.cache,
    )  # fmt: skip
    train.start_keras(setup.seed)
    devices = [*map(_device_name, _accelerators()), "CPU"]
    say(f"devices: {', '.join(devices)} with {_cores()} cores")
    batches = load(config)
    step, xla, about = _network_step(setup, contract, batch_in_memory(contract, config.batch_size), say)
    say(f"model: {about['network']}")
    found = time_step(config, contract, batches, step, xla, say)
    if config.profile:
        _write_trace(config.profile, Feed(batches), step)
        say(f"trace of {PROFILED_STEPS} steps written to {config.profile}")
    about["devices"] = devices
    about["versions"] = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return found, about


def load(config: BenchConfig) -> tf.data.Dataset:
    """Opens the split as training does; with a cache, decodes all of its images first."""
    batches = dataset.load(
        config.data, config.split, config.batch_size, shuffle=True, seed=0, drop_remainder=True, dequantize=False,
        cache=config.cache,
    )  # fmt: skip
    if config.cache != NO_CACHE:
        for _ in batches:  # fills it
            pass
    return batches


def time_step(
    config: BenchConfig,
    contract: Contract,
    batches: tf.data.Dataset,
    step: Step,
    xla: bool,
    say: Callable[[str], None],
) -> Findings:
    """Measures the batches of `load`, the step on a batch in memory, and both together.

    step: uses a batch, and returns when the device is done with it. xla: whether XLA compiled the step.
    """
    length = config.seconds / config.windows

    def rates(windows: list[Window]) -> Spread:
        return Spread.of([config.batch_size / w.step for w in windows])

    def windows(name: str, feed: Feed, work: Step) -> list[Window]:
        measure(feed, work, length)  # warm-up: tf.data tunes its threads and buffers, TensorFlow plans its memory
        found = [measure(feed, work, length) for _ in range(config.windows)]
        rate = rates(found)
        say(f"{name}: {rate.median:,.0f} images/s ({rate.least:,.0f} to {rate.greatest:,.0f})")
        return found

    feed = Feed(batches)
    loader = windows("loader alone", feed, lambda _: None)
    if len(feed.starts) < 2:
        feed.restart()
    first, *later = feed.starts
    del feed  # and with it its buffers
    batch = batch_in_memory(contract, config.batch_size)
    alone = windows("model alone", Feed(tf.data.Dataset.from_tensors(batch).repeat()), step)
    feed = Feed(batches)
    both = windows("both", feed, step)
    call = Spread.of([w.waited for w in alone]).median  # of next() where a batch is always there
    return Findings(
        records=contract.split(config.split).records,
        batch_size=config.batch_size,
        encoding=contract.encoding,
        cores=_cores(),
        accelerator=bool(_accelerators()),
        cache=config.cache,
        mixed_precision=config.mixed_precision,
        xla=xla,
        loader=rates(loader),
        loader_cores=Spread.of([w.cores for w in loader]).median,
        first_batch_seconds=first,
        pass_start_seconds=Spread.of(later).median,
        model=rates(alone),
        both=rates(both),
        wait_share=Spread.of([max(0.0, w.waited - call) / w.step for w in both]),
    )


def _network_step(
    setup: TrainConfig, contract: Contract, batch: Batch, say: Callable[[str], None]
) -> tuple[Step, bool, dict[str, Any]]:
    """The step of the network, whether XLA compiled it, and what it is."""
    network = build.build(setup.model, contract)
    if setup.mixed_precision != "none":
        network = mixed_precision.twin(setup, contract, network)
    model = training_model(setup, contract, network, 1)
    xla = compiled_steps.use_xla(setup.jit, model, [tf.TensorSpec.from_tensor(t) for t in batch], setup.batch_size, say)
    step = training_step(model, batch, xla)
    what = f"{network.name}, {network.count_params():,} parameters"
    return step, xla, {"network": what, "parameters": network.count_params()}


def training_step(model: TrainedModel, batch: Batch, xla: bool = False) -> Step:
    """The step of training, compiled on `batch`; returns when the device is done."""
    train_step = tf.function(model.train_step, reduce_retracing=True, jit_compile=xla or None)

    def step(batch: Batch) -> None:
        float(train_step(batch)["loss"])  # a number on the host: the device has finished

    step(batch)
    return step


def batch_in_memory(contract: Contract, size: int) -> Batch:
    """A batch as the loader gives them: random images as stored (B, H, W, 3), int64 labels (B,), weights if any."""
    random = np.random.default_rng(0)
    shape = (size, *contract.image_shape)
    dtype = dataset.wire_dtype(contract)
    images = random.integers(0, 256, shape, np.uint8) if dtype == "uint8" else random.standard_normal(shape, np.float32)
    labels = random.integers(0, len(contract.labels), size, np.int64)
    batch = (tf.constant(images.astype(dtype)), tf.constant(labels))
    return (*batch, tf.ones(size)) if contract.weighted else batch


def _write_trace(directory: str, feed: Feed, step: Step) -> None:
    feed.take()  # the start of a pass would fill the picture
    tf.profiler.experimental.start(directory)
    try:
        for number in range(PROFILED_STEPS):
            with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
                step(feed.take()[0])
    finally:
        tf.profiler.experimental.stop()
    if not any(file.stat().st_size for file in Path(directory).rglob("*.xplane.pb")):
        raise TrainerError(f"TensorFlow wrote no trace to {directory!r}: is its disk full?")


def _cores() -> int:
    """Those that this process may use, which in a container or under taskset are not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators() -> list[Any]:
    return [device for device in tf.config.list_physical_devices() if device.device_type != "CPU"]


def _device_name(device: Any) -> str:
    details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
    return f"{device.name.removeprefix('/physical_device:')} {details.get('device_name', '')}".strip()
