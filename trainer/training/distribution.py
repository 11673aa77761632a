"""Training on several devices and machines: who takes which records, and what all of them have to agree on.

A step is that of one device: a global batch is cut into parts, and losses, gradients and counts are weighed by the
records of each part before they are summed. Each record is seen once an epoch. Where the last batch has fewer records
than there are replicas, those without one compute on a copy that counts nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from pipelines.core.text import first_line
from trainer.config import TrainConfig, TrainerError, flag
from trainer.training import sigterm

_begun: list[str] = []  # the strategies of several devices that this process has trained with
IN_STEP = ("steps_per_execution", "checkpoint_steps")  # no part of the result, but of how many steps a call runs
MARK = 0xFFFFFF  # of what workers compare: a sum over 2**39 replicas still fits
SEED_STRIDE = 1_000_003  # between the random draws of replicas: flips and dropout differ from part to part


def strategy(name: str, say: Callable[[str], None] = print) -> tf.distribute.Strategy:
    """What --strategy names. Comes before anything else of TensorFlow: a cluster is joined first.

    Args:
      name: of `config.STRATEGIES`.
      say: is told which workers are waited for.

    Raises:
      TrainerError: "multiworker" without a TF_CONFIG that tells of the cluster and of this worker, or a second training
        on several devices in one process: TensorFlow would take its messages for those of the first.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if _begun:
        raise TrainerError(
            f"--strategy {name} trains once a process: start each training in a process of its own, or use "
            "--strategy one."
        )
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        _begun.append(name)
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    hosts = _hosts(os.environ.get("TF_CONFIG", ""))
    say(f"waiting until all {len(hosts)} workers have started: {', '.join(hosts)}")
    _begun.append(name)
    used = tf.distribute.MultiWorkerMirroredStrategy()
    sigterm.at_once()  # TensorFlow's coordination service would note it, for a checkpointing that is not used here
    return used


def _hosts(text: str) -> list[str]:
    """Where the workers of a TF_CONFIG are; raises TrainerError where that does not tell."""
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        job, index = str(task["type"]), int(task["index"])
        known = set(jobs) <= {"chief", "worker"} and 0 <= index < len(jobs[job])
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise TrainerError(
            "--strategy multiworker needs TF_CONFIG in the environment of each worker, with a cluster of workers (and "
            f"a chief, if you like) and this one's task, such as {example}. Received: {text[:300]!r}."
        )
    return [str(host) for name in sorted(jobs) for host in jobs[name]]


def workers(used: tf.distribute.Strategy) -> tuple[int, int]:
    """(number of this worker, how many there are); the chief is number 0."""
    resolver = used.cluster_resolver if isinstance(used, tf.distribute.MultiWorkerMirroredStrategy) else None
    if resolver is None:
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    before = len(jobs.get("chief", [])) if resolver.task_type == "worker" else 0
    return before + resolver.task_id, sum(map(len, jobs.values()))


def share(used: tf.distribute.Strategy) -> tuple[int, int] | None:
    """Which share of each global batch this process reads, as `dataset.load` takes it; None for one device."""
    return workers(used) if used.num_replicas_in_sync > 1 else None


def steps_at_once(config: TrainConfig, used: tf.distribute.Strategy) -> int:
    """--steps-per-execution, or 0 to find out; of several workers the same on all, whatever the times of each are.

    TensorFlow knows the messages of a loop by its turn: workers with loops of unlike lengths would wait for ever.
    """
    return config.steps_per_execution or (1 if workers(used)[1] > 1 else 0)


def check(config: TrainConfig, used: tf.distribute.Strategy) -> None:
    """Raises TrainerError where the options cannot go with as many replicas."""
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
    """Makes the layers and the optimizers of a `TrainedModel`, built in the strategy's scope, act as on one device."""
    if used.num_replicas_in_sync == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True  # statistics of the whole batch
    for optimizer in (model.optimizer, model.head_optimizer):
        # Gradients are summed by `together`, before the optimizer clips them; Keras would do it once more, after.
        if optimizer is not None:
            getattr(optimizer, "inner_optimizer", optimizer)._all_reduce_sum_gradients = lambda pairs: pairs


def part_seeds(model: keras.Model, used: tf.distribute.Strategy) -> None:
    """Gives the random layers of each replica draws of their own, after all of them were set to the same state."""
    local = used.num_replicas_in_sync // workers(used)[1]
    first = workers(used)[0] * local
    for variable in model.variables:
        if used.num_replicas_in_sync > 1 and variable.path.endswith("seed_generator_state"):
            for number, own in enumerate(used.experimental_local_results(variable.value), first):
                own.assign_add(tf.constant([number * SEED_STRIDE, 0], own.dtype))


def divided(step: Callable[..., Any], used: tf.distribute.Strategy) -> Callable[[Any], Any]:
    """`step(batch, records)` as a function of (this worker's share of a batch, records in it), on all its replicas.

    records: int32 (), those of the replica's part that count; 0 where it has but a copy.
    """
    if used.num_replicas_in_sync == 1:
        return step
    local = used.num_replicas_in_sync // workers(used)[1]

    def on_replica(batch: Sequence[tf.Tensor], records: tf.Tensor) -> Any:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group % local
        with tf.device("CPU:0"):  # only the part goes to the device
            start, stop = number * records // local, (number + 1) * records // local
            first = tf.minimum(start, tf.maximum(records - 1, 0))
            part = tuple(values[first : tf.maximum(stop, first + 1)] for values in batch)
        return step(part, stop - start)

    return lambda data: used.run(on_replica, data)


def together(
    records: tf.Tensor | None, means: list[tf.Tensor | None], sums: list[tf.Tensor]
) -> tuple[list[tf.Tensor | None], list[tf.Tensor]]:
    """Values of all replicas from those of each, in one message.

    Args:
      records: of `divided`; None on one device, where everything comes back as it is.
      means: over a replica's records, divided by the number of replicas as Keras's losses are; None stays None.
      sums: over a replica's records.
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


def agree(used: tf.distribute.Strategy, config: TrainConfig, about: dict[str, Any], step: int) -> None:
    """All workers have to train the same thing, and to begin at the same step.

    Args:
      used: joins the workers.
      config: of this one.
      about: of `resume.fingerprint`.
      step: where this worker begins.

    Raises:
      TrainerError: another worker was started with other options, on another dataset or with other versions, which are
        named; or it found another checkpoint.
    """
    if workers(used)[1] == 1:
        return
    options = about["options"] | {name: getattr(config, name) for name in IN_STEP}
    own = {f"{flag(name)} (here {value!r})": value for name, value in options.items()}
    own |= {"the dataset": about["dataset"], "versions of libraries": about["versions"]}
    own |= {f"how shards are read (here {about['reading']})": about["reading"]}
    marks = [zlib.crc32(json.dumps(value, sort_keys=True).encode()) & MARK for value in own.values()]
    *sums, steps = _sum(used, [*marks, step])
    count = used.num_replicas_in_sync
    unlike = [name for name, mark, total in zip(own, marks, sums, strict=True) if total != mark * count]
    if unlike:
        raise TrainerError(
            "--strategy multiworker needs the same options, dataset and versions on all workers. Different on another "
            f"one: {', '.join(unlike)}. Start all of them with the same."
        )
    if steps != step * count:
        raise TrainerError(
            "--resume with --strategy multiworker needs an --output that all workers read: they found different "
            f"checkpoints (this one begins at step {step})."
        )


@contextlib.contextmanager
def one_sentence_if_one_is_gone(used: tf.distribute.Strategy) -> Iterator[None]:
    """Raises TrainerError instead of what TensorFlow says when another worker has ended."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
        if workers(used)[1] == 1:
            raise
        raise TrainerError(
            "Another worker of the cluster is gone: see what it said, then start all of them again with --resume. "
            f"({first_line(e)})"
        ) from e


def wait_for_all(used: tf.distribute.Strategy) -> None:
    """Returns when every worker has come here: one that left early would end the others."""
    if workers(used)[1] > 1:
        _sum(used, [1])


def _sum(used: tf.distribute.Strategy, values: list[int]) -> list[int]:
    """Over all replicas, each value for itself; waits for them."""

    def on_replica() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(values, tf.int64))

    with one_sentence_if_one_is_gone(used):
        summed = used.experimental_local_results(tf.function(lambda: used.run(on_replica))())[0]
        return [int(value) for value in summed]
