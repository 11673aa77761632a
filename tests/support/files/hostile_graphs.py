"""SavedModels that do something which no graph of ours does, such as writing a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from tests.support.datasets import Transform, seal

Act = Callable[[], tf.Tensor]  # returns the scalar string "" when it is done


def write(path: Path) -> Act:
    def act() -> tf.Tensor:
        with tf.control_dependencies([tf.io.write_file(str(path), "written")]):
            return tf.constant("")

    return act


def in_function(act: Act) -> Act:
    return tf.function(tf.function(act, autograph=False), autograph=False)


def in_while(act: Act) -> Act:
    def looped() -> tf.Tensor:
        body = lambda i, text: (i + 1, text + act())  # noqa: E731
        return tf.while_loop(lambda i, _: i < 1, body, (tf.constant(0), tf.constant("")))[1]

    return looped


def in_branch(act: Act) -> Act:
    return lambda: tf.cond(tf.random.uniform(()) < 2, act, lambda: tf.constant(""))


class OnLoad(tf.lookup.KeyValueTensorInitializer):
    """Does it when its table is filled, which `tf.saved_model.load` does."""

    def __init__(self, act: Act) -> None:
        super().__init__(tf.constant(["a"]), tf.constant([1]))
        self._act = act

    def initialize(self, table: Any) -> Any:
        if not tf.inside_function():
            return super().initialize(table)  # fills the table that is saved
        with tf.control_dependencies([self._act()]):
            return super().initialize(table)


class Hostile(Transform):
    """The transform graph of a contract that also acts when it is called."""

    def __init__(self, contract: Contract, act: Act) -> None:
        self._act = act
        super().__init__(contract)

    def _transform(self, columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return super()._transform({**columns, "image": columns["image"] + self._act()})


class HostileTable(Transform):
    """The transform graph of a contract with a table that acts when it is filled."""

    def __init__(self, contract: Contract, act: Act) -> None:
        super().__init__(contract)
        self.table = tf.lookup.StaticHashTable(OnLoad(act), -1)


def put(directory: Path, contract: Contract, module: tf.Module) -> Contract:
    """Replaces a dataset's graph and makes every digest agree with it."""
    folder = directory / contracts.TRANSFORM_DIR
    tf.saved_model.save(module, str(folder))
    return seal(directory, contract)
