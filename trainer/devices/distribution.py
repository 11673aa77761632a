"""Distributes training over several devices and machines.

This module creates the strategy and divides each batch among its replicas. `cluster` coordinates the workers.

A step gives the result of a step on one device: the global batch is cut into parts, and losses, gradients and counts
are weighted by the number of records of each part before they are summed. Each record is read once an epoch. If the
last batch has fewer records than there are replicas, the replicas without a record compute on a copy with weight 0.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.config import TrainConfig, TrainerError
from trainer.devices import cluster, sigterm

_log = logging.getLogger(__name__)

_begun: list[str] = []  # strategies for several devices that this process has used already
SEED_STRIDE = 1_000_003  # distance between the seeds of two replicas, so that flips and dropout differ between them


def strategy(name: str) -> tf.distribute.Strategy:
    """Creates the TensorFlow strategy that --strategy names.

    Call it before any other TensorFlow operation, because a worker has to join its cluster first.

    Args:
      name: one of `config.STRATEGIES`.

    Raises:
      TrainerError: "multiworker" without a TF_CONFIG that describes the cluster and this worker; or a second training
        on several devices in one process, because TensorFlow would confuse its messages with those of the first.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if _begun:
        raise TrainerError(
            f"--strategy {name} can train only once per process: start each training in its own process, or use "
            "--strategy one."
        )
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        _begun.append(name)
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    hosts = cluster.hosts(os.environ.get("TF_CONFIG", ""))
    _log.info("waiting until all %d workers have started: %s", len(hosts), ", ".join(hosts))
    _begun.append(name)
    used = tf.distribute.MultiWorkerMirroredStrategy()
    sigterm.at_once()  # TensorFlow's coordination service catches SIGTERM for checkpoints of its own: not used here
    return used


def share(used: tf.distribute.Strategy) -> tuple[int, int] | None:
    """Returns the share of each global batch that this process reads.

    The value is the `share` argument of `dataset.load`; None for one device.
    """
    return cluster.workers(used) if used.num_replicas_in_sync > 1 else None


def replicas(used: tf.distribute.Strategy) -> range:
    """Returns the numbers of the devices of this process.

    Its share of a batch is divided among them.
    """
    worker, workers = cluster.workers(used)
    local = used.num_replicas_in_sync // workers
    return range(worker * local, (worker + 1) * local)


def steps_at_once(config: TrainConfig, used: tf.distribute.Strategy) -> int:
    """Returns the number of steps of a call, or 0 to choose it from measured times.

    The number is --steps-per-execution if that is given. Several workers always use the same number, even if their
    steps take different times: TensorFlow identifies the messages of a loop by the iteration, so workers with loops of
    different lengths would wait for each other for ever.
    """
    return config.steps_per_execution or (1 if cluster.workers(used)[1] > 1 else 0)


def check(config: TrainConfig, used: tf.distribute.Strategy) -> None:
    """Checks that the options are possible with this number of replicas.

    Raises:
      TrainerError: an option is not possible; the message names it.
    """
    count = used.num_replicas_in_sync
    if config.batch_size < count:
        raise TrainerError(
            f"--batch-size is that of all replicas together and should be at least {count}, one record each. "
            f"Received: {config.batch_size}."
        )
    if config.strategy != "one" and config.freeze_epochs:
        raise TrainerError(
            "--freeze-epochs goes with --strategy one only: train the head on one device, then start from its weights "
            "with --init-weights."
        )
    if config.strategy != "one" and config.jit == "on":
        raise TrainerError("--jit on goes with --strategy one only: XLA cannot compile sums over devices here.")


def prepare(model: Any, used: tf.distribute.Strategy) -> None:
    """Makes a distributed model give the results of one device.

    It synchronizes the batch normalization layers, and stops Keras from summing the gradients a second time.

    Args:
      model: a `TrainedModel` that was built in the strategy's scope.
      used: the strategy.
    """
    if used.num_replicas_in_sync == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True  # computes the statistics over the global batch
    for optimizer in (model.optimizer, model.head_optimizer):
        # `together` sums the gradients before the optimizer clips them. Keras would sum them again after that.
        if optimizer is not None:
            getattr(optimizer, "inner_optimizer", optimizer)._all_reduce_sum_gradients = lambda pairs: pairs


def part_seeds(model: keras.Model, used: tf.distribute.Strategy) -> None:
    """Gives the random layers of each replica different seeds.

    Call it after all replicas were set to the same state.
    """
    for variable in model.variables:
        if used.num_replicas_in_sync > 1 and variable.path.endswith("seed_generator_state"):
            for number, own in enumerate(used.experimental_local_results(variable.value), replicas(used).start):
                own.assign_add(tf.constant([number * SEED_STRIDE, 0], own.dtype))


def divided(step: Callable[..., Any], used: tf.distribute.Strategy) -> Callable[[Any], Any]:
    """Divides each batch among the replicas of this worker.

    Args:
      step: a function `step(batch, records)`. `records` is int32 (), the number of records of the replica's part that
        count; it is 0 if the replica has only a copy.
      used: the strategy.

    Returns:
      A function of (this worker's share of a batch, number of records in it) that runs `step` on all replicas of this
      worker; `step` itself for one device.
    """
    if used.num_replicas_in_sync == 1:
        return step
    local = used.num_replicas_in_sync // cluster.workers(used)[1]

    def on_replica(batch: Sequence[tf.Tensor], records: tf.Tensor) -> Any:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group % local
        with tf.device("CPU:0"):  # so that only the part is copied to the device
            start, stop = number * records // local, (number + 1) * records // local
            first = tf.minimum(start, tf.maximum(records - 1, 0))
            part = tuple(values[first : tf.maximum(stop, first + 1)] for values in batch)
        return step(part, stop - start)

    return lambda data: used.run(on_replica, data)


def together(
    records: tf.Tensor | None, means: list[tf.Tensor | None], sums: list[tf.Tensor]
) -> tuple[list[tf.Tensor | None], list[tf.Tensor]]:
    """Combines the values of all replicas in one message.

    Args:
      records: from `divided`; None on one device, where all values are returned unchanged.
      means: means over the records of a replica, divided by the number of replicas, as Keras's losses are. None stays
        None.
      sums: sums over the records of a replica.

    Returns:
      The means and the sums over the records of all replicas.
    """
    context = tf.distribute.get_replica_context()
    if records is None or context.num_replicas_in_sync == 1:
        return means, sums
    count = tf.cast(records, tf.float32)
    weighed = [value * (count * context.num_replicas_in_sync) for value in means if value is not None]
    counted = [value * tf.cast(count > 0, value.dtype) for value in sums]
    total, *summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [count, *weighed, *counted])
    found = iter(summed)
    return [None if value is None else next(found) / total for value in means], list(found)
