"""The step of `train` and Keras's `fit`, each with XLA and without, in turns in one process.

    SHARDMILL_DATA=/folder python benchmarks/step_turns.py [--network NAME] [--deterministic]

`benchmarks/steps.py` runs whole commands minutes apart, so that its ratios hold the noise of the machine. Here the same
images are trained on from memory, some steps of each way in each round. Printed are images/s and CPU-seconds of a step,
and both as ratios to `fit` without XLA in the same round. With --deterministic Keras never compiles with XLA.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import measure
import steps as whole_epochs

BATCH = 64
PHOTOGRAPHS = 2400  # fewer may be of one class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="cnn", help="a name of `train --model`, or one of keras.applications")
    parser.add_argument("--deterministic", action="store_true", help="as `train` does without --no-deterministic")
    parser.add_argument("--steps", type=int, default=8, help="of each way in each round (default: 8, at most 25)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    sys.path.insert(0, str(measure.ROOT))
    with tempfile.TemporaryDirectory() as name:
        data = whole_epochs.prepared(pathlib.Path(name), PHOTOGRAPHS, "64x64")
        report(args, ways(data, args))


def ways(data: pathlib.Path, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Functions that each make `args.steps` steps; compiled, and run once. One that XLA cannot compile is told."""
    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines import contract as contracts
    from trainer.config import TrainConfig
    from trainer.data import dataset
    from trainer.devices import compiled_steps
    from trainer.models import build
    from trainer.training import step, train

    train.start_keras(0, args.deterministic)
    contract = contracts.load(data)

    def arrays(dequantize: bool) -> list[np.ndarray]:
        batches = dataset.load(data, "train", BATCH, drop_remainder=True, dequantize=dequantize).take(args.steps)
        return [np.concatenate(values) for values in zip(*batches.as_numpy_iterator(), strict=True)]

    def fit(jit: bool) -> Callable[[], None]:
        images, labels = arrays(dequantize=True)
        model = build.build(args.network, contract)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(), loss, jit_compile=jit)
        return lambda: model.fit(images, labels, batch_size=BATCH, verbose=0)

    def of_train(jit: bool) -> Callable[[], None]:
        config = TrainConfig(data=str(data), output="unused", model=args.network, batch_size=BATCH)
        model = step.training_model(config, contract, build.build(args.network, contract), args.steps)
        run = compiled_steps.compiled(model.train_step, jit)
        batches = tf.data.Dataset.from_tensor_slices(tuple(arrays(dequantize=False))).batch(BATCH, True).prefetch(2)

        def steps() -> None:
            run(iter(batches), tf.constant(args.steps))
            int(model.fault.numpy())  # waits

        return steps

    made = {}
    for name, way, jit in (
        ("`fit`", fit, False),
        ("`train --jit off`", of_train, False),
        ("`fit` with XLA", fit, True),
        ("`train --jit on`", of_train, True),
    ):
        if jit and way is fit and args.deterministic:
            continue
        try:
            run = way(jit)
            run()
            made[name] = run
        except tf.errors.OpError as e:
            print(f"{name}: {str(e).strip().splitlines()[-1][:200]}", flush=True)
    return made


def report(args: argparse.Namespace, made: dict[str, Callable[[], None]]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in made}
    costs: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(args.rounds):
        for name, run in made.items():
            began, used = time.perf_counter(), time.process_time()
            run()
            rates[name].append(args.steps * BATCH / (time.perf_counter() - began))
            costs[name].append((time.process_time() - used) / args.steps)
    base = next(iter(made))
    print(f"| {args.network} | images/s | / `fit` | CPU-s of a step | / `fit` |")
    print("|---|---|---|---|---|")
    for name in made:
        ratios = [
            measure.spread([a / b for a, b in zip(of[name], of[base], strict=True)]) for of in (rates, costs)
        ]  # fmt: skip
        print(f"| {name} | {measure.spread(rates[name])} | {ratios[0]} | {measure.spread(costs[name])} | {ratios[1]} |")


if __name__ == "__main__":
    main()
