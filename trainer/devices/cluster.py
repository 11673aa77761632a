"""Coordinates the workers of --strategy multiworker, one process on each machine.

It finds out which workers there are, checks that all of them train the same thing, and waits for them. Only the first
one reports and writes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import zlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pipelines.core.text import first_line
from pipelines.options.config_fields import flag
from trainer.config import TrainConfig, TrainerError

_log = logging.getLogger(__name__)

IN_STEP = ("steps_per_execution", "checkpoint_steps")  # decide how many steps a call runs, but not the result
MARK = 0xFFFFFF  # workers compare 24 bits of a checksum: the sum over 2**39 replicas still fits int64


def hosts(text: str) -> list[str]:
    """Reads the addresses of the workers from the text of TF_CONFIG.

    Raises:
      TrainerError: the text does not describe a cluster and the task of this worker.
    """
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
    """Returns (index of this worker, number of workers); the chief has index 0."""
    resolver = used.cluster_resolver if isinstance(used, tf.distribute.MultiWorkerMirroredStrategy) else None
    if resolver is None:
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    before = len(jobs.get("chief", [])) if resolver.task_type == "worker" else 0
    return before + resolver.task_id, sum(map(len, jobs.values()))


@contextlib.contextmanager
def only_first_reports(used: tf.distribute.Strategy) -> Iterator[None]:
    """Silences the trainer's log in all workers but the first, in the body.

    The others would log the same lines. They log once which worker they are.
    """
    worker, of = workers(used)
    if not worker:
        yield
        return
    _log.info("worker %d of %d: the first one reports and writes", worker + 1, of)
    logger = logging.getLogger("trainer")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def agree(used: tf.distribute.Strategy, config: TrainConfig, about: dict[str, Any], step: int) -> None:
    """Checks that all workers train the same thing and begin at the same step.

    Args:
      used: the strategy that connects the workers.
      config: of this worker.
      about: from `resume.fingerprint`.
      step: the step at which this worker begins.

    Raises:
      TrainerError: another worker was started with other options, on another dataset or with other versions, which the
        message names; or it found another checkpoint.
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
            "--strategy multiworker needs the same options, dataset and versions on all workers. These differ on "
            f"another worker: {', '.join(unlike)}. Start all of them with the same."
        )
    if steps != step * count:
        raise TrainerError(
            "--resume with --strategy multiworker needs an --output that all workers read: they found different "
            f"checkpoints (this one begins at step {step})."
        )


@contextlib.contextmanager
def one_sentence_if_one_is_gone(used: tf.distribute.Strategy) -> Iterator[None]:
    """Replaces TensorFlow's error by a short one if another worker has ended.

    Raises:
      TrainerError: another worker has ended.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
        if workers(used)[1] == 1:
            raise
        raise TrainerError(
            "Another worker of the cluster ended: look at its messages, then start all of them again with --resume. "
            f"({first_line(e)})"
        ) from e


def wait_for_all(used: tf.distribute.Strategy) -> None:
    """Waits until every worker has called it.

    A worker that ended early would end the other workers.
    """
    if workers(used)[1] > 1:
        _sum(used, [1])


def _sum(used: tf.distribute.Strategy, values: list[int]) -> list[int]:
    """Returns the sum of each value over all replicas, after waiting for them."""

    def on_replica() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(values, tf.int64))

    with one_sentence_if_one_is_gone(used):
        summed = used.experimental_local_results(tf.function(lambda: used.run(on_replica))())[0]
        return [int(value) for value in summed]
