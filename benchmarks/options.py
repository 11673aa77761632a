"""What each option of speed and scale is worth on this machine: images/s and CPU time, as ratios to none of them.

    python benchmarks/options.py DATA [--jpeg DATA] [--model cnn] [--batch-size 32] [--rounds 5] [--steps 16]

All variants are built first and then take turns, so that other load on the machine meets all of them. Two virtual
devices stand for two GPUs. They share the same cores: "mirrored" shows what the strategy costs, not what it gains.
DATA is a prepared dataset; --jpeg another, of compressed images, of which the loader alone is timed with each --cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

VARIANTS: dict[str, dict[str, object]] = {
    "baseline": {},
    "--steps-per-execution 16": {"steps_per_execution": 16},
    "--jit on": {"jit": "on"},
    "--mixed-precision bfloat16": {"mixed_precision": "bfloat16"},
    "--mixed-precision float16": {"mixed_precision": "float16"},
    "--strategy mirrored, 2 devices": {"strategy": "mirrored"},
}


def main() -> None:
    arguments = _arguments()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    made = {name: _training(arguments, options) for name, options in VARIANTS.items()}
    _report(made, arguments.rounds, arguments.steps * arguments.batch_size)
    if arguments.jpeg:
        loaders = {f"--cache {cache}": _loader(arguments, cache) for cache in ("none", "memory")}
        from pipelines import contract as contracts

        _report(loaders, arguments.rounds, contracts.load(arguments.jpeg).split("train").records)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--jpeg", default="")
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16)
    return parser.parse_args()


def _training(arguments: argparse.Namespace, options: dict[str, object]) -> Callable[[], None]:
    """Trains `--steps` steps, from batches of the dataset."""
    from pipelines import contract as contracts
    from trainer.config import TrainConfig
    from trainer.data import dataset
    from trainer.devices import compiled_steps, distribution, mixed_precision
    from trainer.models import build
    from trainer.training.step import training_model

    config = TrainConfig(
        arguments.data, "not written", model=arguments.model, batch_size=arguments.batch_size, **options
    )
    contract = contracts.load(config.data)
    used = distribution.strategy(config.strategy)
    network = build.build(config.model, contract)
    with used.scope():
        model = training_model(config, contract, mixed_precision.twin(config, contract, network), 1)
    distribution.prepare(model, used)
    batches = dataset.load(
        config.data, "train", config.batch_size, shuffle=True, seed=0, drop_remainder=True, dequantize=False,
        share=distribution.share(used),
    )  # fmt: skip
    step = compiled_steps.compiled(distribution.divided(model.train_step, used), jit=config.jit == "on")
    iterator = iter(batches.repeat())
    at_once = config.steps_per_execution or 1

    def train() -> None:
        for _ in range(0, arguments.steps, at_once):
            step(iterator, tf.constant(at_once))
        model.fault.numpy()

    train()  # compiles
    return train


def _loader(arguments: argparse.Namespace, cache: str) -> Callable[[], None]:
    """One pass over the compressed dataset."""
    from trainer.data import dataset

    batches = dataset.load(
        arguments.jpeg, "train", arguments.batch_size, shuffle=True, seed=0, dequantize=False, cache=cache
    )

    def read() -> None:
        for _ in batches:
            pass

    read()  # fills the cache
    return read


def _report(made: dict[str, Callable[[], None]], rounds: int, images: int) -> None:
    """Images/s, and CPU-seconds for 1,000 images, which other load on the machine disturbs less; and their ratios."""
    rates: dict[str, list[float]] = {name: [] for name in made}
    costs: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, work in made.items():
            began, cpu = time.perf_counter(), time.process_time()
            work()
            costs[name].append(1000 * (time.process_time() - cpu) / images)
            rates[name].append(images / (time.perf_counter() - began))
    first = next(iter(made))
    for name in made:
        print(
            f"{name:<32} {statistics.median(rates[name]):>7,.0f} images/s, {_ratio(rates[name], rates[first])}; "
            f"{statistics.median(costs[name]):.2f} CPU-s/1k, {_ratio(costs[name], costs[first])}",
            flush=True,
        )


def _ratio(found: list[float], base: list[float]) -> str:
    """Round by round: median (least to greatest)."""
    ratios = sorted(one / other for one, other in zip(found, base, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


if __name__ == "__main__":
    main()
