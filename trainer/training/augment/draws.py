"""Draws the random numbers of one training step without a state.

A draw is a function of the seed, the step and the place of the record in its batch. The loop sets the step also where a
run resumes, so a resumed run draws the same numbers, and nothing has to be stored in a checkpoint.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Draws(NamedTuple):
    """Draws the numbers of one step.

    seed: of the run. step: int64 (), counted over all epochs. replica: the number of the device that the records are
    for; None for the one that runs this.
    """

    seed: int
    step: tf.Tensor
    replica: int | None = None

    def uniform(self, stream: int, count: tf.Tensor, numbers: int, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        """Returns float32 (count, numbers) between `low` and `high`.

        The numbers of a record do not depend on the size of the batch. Each replica draws its own.

        Args:
          stream: differs for each use in a step.
          count: records of the batch, int32 ().
          numbers: numbers for each record.
        """
        replica = self.replica
        if replica is None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        key = tf.stack([tf.constant(self.seed * STREAMS + stream, tf.int64), self._moment(replica)])
        drawn = tf.random.stateless_uniform((count, numbers), key, alg="philox")  # the same on every device
        return low + (high - low) * drawn

    def _moment(self, replica: tf.Tensor | int) -> tf.Tensor:
        return tf.cast(self.step, tf.int64) * REPLICAS + tf.cast(replica, tf.int64)


STREAMS = 64  # more than there are uses in a step
REPLICAS = 1 << 20  # more than there are devices
