"""Measures the loader, the model, and both together in one training process.

Each step has to finish before the next batch is requested. Then the time blocked in `next(iterator)` is time in which
the device does nothing. Otherwise a GPU would still work on earlier steps while the host already waits for input, and
the wait of the host would say little about the device.
"""

from __future__ import annotations

import dataclasses
import logging
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
from pipelines.core import machine
from trainer.bench.config import BenchConfig, check_split
from trainer.bench.verdict import Findings, Spread
from trainer.config import NO_CACHE, TrainConfig, TrainerError
from trainer.data import dataset
from trainer.devices import compiled_steps, mixed_precision
from trainer.models import build
from trainer.tasks import kinds
from trainer.training import train
from trainer.training.step import TrainedModel, training_model

_log = logging.getLogger(__name__)

PROFILED_STEPS = 10
Batch = tuple[tf.Tensor, ...]
Step = Callable[[Batch], None]


@dataclasses.dataclass(frozen=True)
class Window:
    """Holds the means over some consecutive steps, in seconds a step."""

    waited: float  # for input, in next(iterator)
    worked: float
    cores: float  # mean number of cores that this process kept busy

    @property
    def step(self) -> float:
        return self.waited + self.worked


class Feed:
    """Gives batches of one pass after another, as `fit` does.

    A batch is requested when the one before it has been used. The first batch of a pass is dropped, and its wait is
    kept separately in `starts`: it belongs to the pass and not to a step.
    """

    def __init__(self, batches: tf.data.Dataset) -> None:
        self.starts: list[float] = []  # seconds to the first batch of each pass
        self._batches = batches
        self._iterator: Any = None

    def take(self) -> tuple[Batch, float]:
        """Returns the next batch and the seconds of waiting for it."""
        if self._iterator is None:
            self.restart()
        began = time.perf_counter()
        batch = next(self._iterator, None)
        if batch is None:  # the pass has ended
            self.restart()
            began = time.perf_counter()
            batch = next(self._iterator)
        return batch, time.perf_counter() - began

    def restart(self) -> None:
        """Begins a pass and waits for its first batch."""
        self._iterator = None  # releases the threads and buffers of the last pass
        began = time.perf_counter()
        self._iterator = iter(self._batches)
        next(self._iterator)
        self.starts.append(time.perf_counter() - began)


def measure(feed: Feed, step: Step, seconds: float) -> Window:
    """Measures the step on batches of the feed for about `seconds`.

    It makes at least two steps.
    """
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


def run(config: BenchConfig) -> tuple[Findings, dict[str, Any]]:
    """Measures what `config` asks for; writes no file but the trace, on request.

    Returns:
      The findings, and a description of the measured system: "devices", "network", "parameters", "versions".

    Raises:
      TrainerError, ContractError: the dataset or the model cannot be used, or TensorFlow wrote no trace.
      OSError: the folder for the trace cannot be made.
    """
    contract = contracts.load(config.data)
    check_split(config, contract)
    if config.profile:
        os.makedirs(config.profile, exist_ok=True)  # reports a folder that cannot be made before any work
    setup = TrainConfig(
        data=config.data, output="not written", model=config.model, batch_size=config.batch_size,
        mixed_precision=config.mixed_precision, jit=config.jit, cache=config.cache, deterministic=config.deterministic,
    )  # fmt: skip
    train.start_keras(setup.seed, setup.deterministic)
    devices = [*map(_device_name, _accelerators()), "CPU"]
    _log.info("devices: %s with %d cores", ", ".join(devices), machine.cores())
    batches = load(config)
    step, xla, about = _network_step(setup, contract, batch_in_memory(contract, config.batch_size))
    _log.info("model: %s", about["network"])
    found = time_step(config, contract, batches, step, xla)
    if config.profile:
        _write_trace(config.profile, Feed(batches), step)
        _log.info("trace of %d steps written to %s", PROFILED_STEPS, config.profile)
    about["devices"] = devices
    about["versions"] = {"tensorflow": tf.__version__, "keras": keras.__version__}
    return found, about


def load(config: BenchConfig) -> tf.data.Dataset:
    """Opens the split as training does; with a cache, decodes all images first."""
    batches = dataset.load(
        config.data, config.split, config.batch_size, shuffle=True, seed=0, drop_remainder=True, dequantize=False,
        cache=config.cache,
    )  # fmt: skip
    if config.cache != NO_CACHE:
        for _ in batches:  # fills the cache
            pass
    return batches


def time_step(config: BenchConfig, contract: Contract, batches: tf.data.Dataset, step: Step, xla: bool) -> Findings:
    """Measures the loader alone, the step alone on a batch in memory, and both.

    It logs a line for each of the three measurements.

    Args:
      config: the options.
      contract: of the dataset.
      batches: of `load`; the loader is measured on them.
      step: uses a batch and returns when the device has finished it.
      xla: whether XLA compiled the step.
    """
    length = config.seconds / config.windows

    def rates(windows: list[Window]) -> Spread:
        return Spread.of([config.batch_size / w.step for w in windows])

    def windows(name: str, feed: Feed, work: Step) -> list[Window]:
        measure(feed, work, length)  # warm-up: tf.data tunes its threads and buffers, TensorFlow plans its memory
        found = [measure(feed, work, length) for _ in range(config.windows)]
        rate = rates(found)
        _log.info("%s", f"{name}: {rate.median:,.0f} images/s ({rate.least:,.0f} to {rate.greatest:,.0f})")
        return found

    feed = Feed(batches)
    loader = windows("loader alone", feed, lambda _: None)
    if len(feed.starts) < 2:
        feed.restart()
    first, *later = feed.starts
    del feed  # releases its buffers, too
    batch = batch_in_memory(contract, config.batch_size)
    alone = windows("model alone", Feed(tf.data.Dataset.from_tensors(batch).repeat()), step)
    feed = Feed(batches)
    both = windows("both", feed, step)
    call = Spread.of([w.waited for w in alone]).median  # cost of next() when a batch is always ready
    return Findings(
        records=contract.split(config.split).records,
        batch_size=config.batch_size,
        encoding=contract.encoding,
        cores=machine.cores(),
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


def _network_step(setup: TrainConfig, contract: Contract, batch: Batch) -> tuple[Step, bool, dict[str, Any]]:
    """Builds the network and returns its step.

    Returns:
      The step, whether XLA compiled it, and a description of the network.
    """
    network = build.build(setup.model, contract)
    if setup.mixed_precision != "none":
        network = mixed_precision.twin(setup, contract, network)
    model = training_model(setup, contract, network, 1)
    xla = compiled_steps.use_xla(setup.jit, model, [tf.TensorSpec.from_tensor(t) for t in batch], setup.batch_size)
    step = training_step(model, batch, xla)
    what = f"{network.name}, {network.count_params():,} parameters"
    return step, xla, {"network": what, "parameters": network.count_params()}


def training_step(model: TrainedModel, batch: Batch, xla: bool = False) -> Step:
    """Returns the training step, compiled on `batch`.

    The step returns when the device has finished.
    """
    train_step = tf.function(model.train_step, reduce_retracing=True, jit_compile=xla or None, autograph=False)

    def step(batch: Batch) -> None:
        float(train_step(batch)["loss"])  # copying the number to the host waits for the device

    step(batch)
    return step


def batch_in_memory(contract: Contract, size: int) -> Batch:
    """Makes a batch with the shapes and dtypes of the loader's batches.

    Returns:
      Random images as stored (B, H, W, C), labels as the loader gives them, and weights float32 (B,) if the contract is
        weighted.
    """
    random = np.random.default_rng(0)
    shape = (size, *contract.image_shape)
    dtype = dataset.wire_dtype(contract)
    images = random.integers(0, 256, shape, np.uint8) if dtype == "uint8" else random.standard_normal(shape, np.float32)
    labels = kinds.of(contract).random_labels(contract, random, size)
    batch = (tf.constant(images.astype(dtype)), tf.constant(labels))
    return (*batch, tf.ones(size)) if contract.weighted else batch


def _write_trace(directory: str, feed: Feed, step: Step) -> None:
    feed.take()  # the start of a pass is left out: it would dominate the trace
    tf.profiler.experimental.start(directory)
    try:
        for number in range(PROFILED_STEPS):
            with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
                step(feed.take()[0])
    finally:
        tf.profiler.experimental.stop()
    if not any(file.stat().st_size for file in Path(directory).rglob("*.xplane.pb")):
        raise TrainerError(f"TensorFlow wrote no trace to {directory!r}: is its disk full?")


def _accelerators() -> list[Any]:
    return [device for device in tf.config.list_physical_devices() if device.device_type != "CPU"]


def _device_name(device: Any) -> str:
    details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
    return f"{device.name.removeprefix('/physical_device:')} {details.get('device_name', '')}".strip()
