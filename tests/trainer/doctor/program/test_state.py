"""The weights and the optimizer of a model as they were before its training."""

import keras
import numpy as np
import pytest

from trainer.doctor.program import child


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_state_before_a_training_that_built_the_optimizer(wrapped):
    rule = keras.optimizers.RMSprop(0.01)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(rule) if wrapped else rule, "mse")
    first = model.get_weights()
    before = child._State(model)
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=4, verbose=0)
    after = [np.array(variable) for variable in model.optimizer.variables]
    with before.of_before(model, True):
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), first, strict=True))
        assert float(rule.learning_rate) == pytest.approx(0.01)
        assert int(rule.iterations) == 0
        assert all(not np.any(variable) for variable in rule.variables[2:])
        assert not wrapped or float(model.optimizer.dynamic_scale) == 32768
    assert all(np.array_equal(a, np.array(b)) for a, b in zip(after, model.optimizer.variables, strict=True))
    assert int(rule.iterations) == 2
