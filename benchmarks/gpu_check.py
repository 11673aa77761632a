"""What training does on the GPUs of this machine: rates, input wait, utilization, and whether its numbers hold.

    make gpu-check                                        # prepares the project's own sample at both sizes
    python benchmarks/gpu_check.py --small DIR --large DIR --output results

Six parts, each of which can be left out (`--parts`):
  steps        each network with and without mixed precision and XLA: the loader alone, the network alone, both
               together, the share of a step spent waiting for input, and the GPU's utilization while both ran
  fit          the same batches by plain Keras `fit` from an array in the GPU's memory, beside the trainer's own
               `train`: what the whole of it costs
  determinism  two runs with --deterministic, which must give equal weights to the bit; two without; what it costs
  cpu          the same run on the CPU and on the GPU, epoch by epoch, with TensorFloat-32 and without; the network
               that the GPU trained, answering on both
  resume       a run on the GPU that is stopped and resumed, against one that is not
  mirrored     --strategy mirrored on all GPUs against one: the same learning curve, and the gain

Shards are linked often enough for RECORDS records, so that a pass is long; the files are in memory. What cannot be
measured here is said ("not measured: one GPU"). Results are written as gpu_check.md and gpu_check.json. Status 1 if a
number does not hold, 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

import feed

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("steps", "fit", "determinism", "cpu", "resume", "mirrored")
CASES = (("small", "cnn", 256), ("small", "resnet20", 256), ("large", "ResNet50", 128))
# Precision, XLA, determinism. A process cannot leave determinism again, so those with it come last.
SETTINGS = (
    ("none", "off", False), ("none", "on", False), ("float16", "off", False), ("float16", "on", False),
    ("bfloat16", "on", False), ("none", "auto", True), ("float16", "auto", True),
)  # fmt: skip
STEPS_HEAD = (
    "network", "batch", "precision", "XLA", "deterministic", "loader, images/s", "its cores", "network, images/s",
    "both, images/s", "waiting for input", "GPU busy",
)  # fmt: skip
EPOCHS = 3
# Of the CPU and the GPU, epoch by epoch: rounding differs in the order of sums only, and grows with each step.
LOSS_TOLERANCE = 0.02
# Of one network that answers on both. TensorFloat-32 keeps 10 bits of each factor.
ANSWER_TOLERANCE = {"float32": 1e-4, "TensorFloat-32": 2e-2}


@dataclasses.dataclass
class Results:
    """Tables and sentences, in the order in which they are written."""

    lines: list[str]
    figures: dict[str, object]
    failed: list[str]

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.lines += ["", f"## {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        self.lines += [f"| {' | '.join(row)} |" for row in rows]

    def say(self, sentence: str, holds: bool = True) -> None:
        self.lines += ["", sentence if holds else f"**Does not hold:** {sentence}"]
        print(self.lines[-1], flush=True)
        if not holds:
            self.failed.append(sentence)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--small", required=True, help="prepared dataset for cnn and resnet20, such as 128x128 uint8")
    parser.add_argument("--large", required=True, help="prepared dataset for ResNet50, such as 224x224 uint8")
    parser.add_argument("--output", required=True, help="folder for gpu_check.md and gpu_check.json")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"what to measure (default: {','.join(PARTS)})")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate (default: 2)")
    parser.add_argument(
        "--without-gpu", action="store_true",
        help="go through all parts on the CPU, to try this program itself: the figures say nothing of a GPU",
    )  # fmt: skip
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts should be of {', '.join(PARTS)}. Received: {', '.join(sorted(unknown))}")
    if not args.without_gpu and not gpus():
        sys.exit(2)
    results = Results([f"# GPU check, {time.strftime('%Y-%m-%d')}", "", *machine()], {}, [])
    print("\n".join(results.lines), flush=True)
    output = pathlib.Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as folder:
        for part in PARTS:
            if part in parts:
                began = time.monotonic()
                globals()[f"check_{part}"](args, results, pathlib.Path(folder))
                results.figures[f"{part}_seconds"] = time.monotonic() - began
                write(results, output)
    print(f"\n{output / 'gpu_check.md'}", "" if not results.failed else f"\n{len(results.failed)} do not hold")
    sys.exit(bool(results.failed))


def write(results: Results, output: pathlib.Path) -> None:
    (output / "gpu_check.md").write_text("\n".join(results.lines) + "\n", encoding="utf-8")
    (output / "gpu_check.json").write_text(json.dumps(results.figures, indent=1) + "\n", encoding="utf-8")


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow can use, asked in a process of its own; says why there are none."""
    code = (
        "import tensorflow as tf; [print('GPU', tf.config.experimental.get_device_details(d).get('device_name')) "
        "for d in tf.config.list_physical_devices('GPU')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = [line[4:] for line in done.stdout.splitlines() if line.startswith("GPU ")]
    if not found:
        print(f"TensorFlow finds no GPU here. What it says:\n{done.stderr[-1500:]}", file=sys.stderr)
    return found


def machine() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        cards = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().replace("\n", "; ")
    except (OSError, subprocess.CalledProcessError):
        cards = "none that nvidia-smi shows"
    code = "import tensorflow as tf, keras; b = tf.sysconfig.get_build_info(); " \
        "print(tf.__version__, keras.__version__, b.get('cuda_version'), b.get('cudnn_version'))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    tensorflow, keras, cuda, cudnn = (done + ["?"] * 4)[:4]
    return [
        f"GPU: {cards}. CPU: {len(os.sched_getaffinity(0))} cores, {platform.machine()}. Python "
        f"{platform.python_version()}, TensorFlow {tensorflow} (built for CUDA {cuda}, cuDNN {cudnn}), Keras {keras}."
    ]


class Utilization(threading.Thread):
    """The utilization of the first GPU in percent, ten times a second, with the time of each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[float, float]] = []
        command = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu",
            "--format=csv,noheader,nounits",
            "-i",
            "0",
            "-lms",
            "100",
        ]
        self._process: subprocess.Popen[str] | None = None
        if shutil.which("nvidia-smi"):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(self) -> None:
        for line in self._process.stdout if self._process and self._process.stdout else ():
            if line.strip().isdigit():
                self.seen.append((time.monotonic(), float(line)))

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self.join()

    def of_last(self, seconds: float) -> str:
        values = [value for when, value in self.seen if when >= time.monotonic() - seconds]
        return f"{statistics.mean(values):.0f} %" if values else "not shown"


def enlarged(data: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """As `feed.enlarged`, with what `train` needs beside the shards."""
    feed.enlarged(data, target)
    for name in ("transform_fn", "transformed_metadata", "stats"):
        shutil.copytree(data / name, target / name)
    return target


# ---- steps


def check_steps(args: argparse.Namespace, results: Results, folder: pathlib.Path) -> None:
    rows, figures = [], []
    for size in ("small", "large"):
        data = enlarged(pathlib.Path(getattr(args, size)), folder / size)
        for _, model, batch in (case for case in CASES if case[0] == size):
            command = [sys.executable, __file__, model, str(batch), str(data), str(args.seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(CHILD="steps"))
            if done.returncode:
                results.say(f"{model} could not be measured: {done.stderr.strip()[-1500:]}", holds=False)
                continue
            for found in json.loads(done.stdout.splitlines()[-1]):
                figures.append(found)
                rows.append(row(found))
                print(" | ".join(rows[-1]), flush=True)
    results.table("Real steps", STEPS_HEAD, rows)
    results.figures["steps"] = figures


def row(found: dict) -> tuple[str, ...]:
    deterministic = "yes" if found["deterministic"] else "no"
    if "error" in found:
        return (found["model"], str(found["batch"]), found["precision"], found["jit"], deterministic, found["error"],
                *[""] * 5)  # fmt: skip
    return (
        f"{found['model']} at {found['shape'][0]}", str(found["batch"]), found["precision"],
        "on" if found["xla"] else "off", deterministic, f"{found['loader']:,.0f}", f"{found['loader_cores']:.1f}",
        f"{found['network']:,.0f}", f"{found['both']:,.0f}", f"{found['wait']:.1%}", found["utilization"],
    )  # fmt: skip


def child_steps(model: str, batch: str, data: str, seconds: str) -> None:
    """One process a network: a JSON list of figures on the last line."""
    from pipelines import contract as contracts
    from trainer.bench import measure
    from trainer.bench.config import BenchConfig

    found = []
    for precision, jit, deterministic in SETTINGS:
        about = {
            "model": model, "batch": int(batch), "precision": precision, "jit": jit, "deterministic": deterministic,
            "shape": contracts.load(data).image_shape,
        }  # fmt: skip
        config = BenchConfig(data, batch_size=int(batch), model=model, mixed_precision=precision, jit=jit,
                             deterministic=deterministic, seconds=float(seconds))  # fmt: skip
        watch = Utilization()
        watch.start()
        try:
            findings, _ = measure.run(config)
            used = watch.of_last(float(seconds))
        except Exception as error:  # the other cases are measured all the same
            found.append({**about, "error": str(error).splitlines()[0][:200]})
            continue
        finally:
            watch.stop()
        found.append(
            {**about, "xla": findings.xla, "loader": findings.loader.median, "loader_cores": findings.loader_cores,
             "network": findings.model.median, "both": findings.both.median, "wait": findings.wait_share.median,
             "first_batch": findings.first_batch_seconds, "pass_start": findings.pass_start_seconds,
             "utilization": used}
        )  # fmt: skip
    print(json.dumps(found))


# ---- fit


def check_fit(args: argparse.Namespace, results: Results, folder: pathlib.Path) -> None:
    """Plain Keras on an array is the limit: nothing is read, nothing is shuffled on the host."""
    data = enlarged(pathlib.Path(args.small), folder / "fit")
    rows = []
    for model in ("cnn", "resnet20"):
        command = [sys.executable, __file__, model, "256", str(data), str(EPOCHS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(CHILD="fit"))
        if done.returncode:
            results.say(f"fit of {model} failed: {done.stderr.strip()[-1500:]}", holds=False)
            continue
        plain = json.loads(done.stdout.splitlines()[-1])
        watch = Utilization()
        watch.start()
        train(data, folder / f"fit-{model}", "--model", model, "--batch-size", "256", "--validation", "none")
        watch.stop()
        ours = rates(folder / f"fit-{model}")[-1]
        rows.append((model, f"{plain:,.0f}", f"{ours:,.0f}", f"{ours / plain:.2f}"))
        print(" | ".join(rows[-1]), flush=True)
        results.figures[f"fit_{model}"] = {"plain": plain, "train": ours}
    results.table(
        "Whole epochs: images/s", ("network", "plain Keras, one array in memory", "`train`, from shards", "ratio"), rows
    )


def child_fit(model: str, batch: str, data: str, epochs: str) -> None:
    """Images/s of the last epoch of plain Keras on one batch's images, which are normalized floats on the device."""
    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines import contract as contracts
    from trainer.models import build
    from trainer.training import train as training

    training.start_keras(0)
    contract = contracts.load(data)
    network = build.build(model, contract)
    network.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random, size = np.random.default_rng(0), int(batch)
    images = tf.constant(random.standard_normal((size, *contract.image_shape), np.float32))
    labels = tf.constant(random.integers(0, len(contract.labels), size, np.int32))
    steps = contract.split("train").records // size
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat(steps)
    seconds = []
    for _ in range(int(epochs)):
        began = time.monotonic()
        network.fit(batches, epochs=1, verbose=0)
        seconds.append(time.monotonic() - began)
    print(json.dumps(steps * size / min(seconds)))


# ---- runs of the trainer


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": paths, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2", **more}


def train(data: pathlib.Path, output: pathlib.Path, *options: str, **variables: str) -> float:
    """Trains, and returns the seconds that it took; stops with the last lines if it fails."""
    command = [sys.executable, "-m", "trainer", "train", "--data", str(data), "--output", str(output),
               "--epochs", str(EPOCHS), *options]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**variables))
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
    return time.monotonic() - began


def history(output: pathlib.Path) -> list[dict[str, float]]:
    with open(output / "metrics.csv", encoding="utf-8") as file:
        return [{k: float(v) for k, v in line.items() if v} for line in csv.DictReader(file)]


def rates(output: pathlib.Path) -> list[float]:
    return [line["images_per_second"] for line in history(output)]


def losses(output: pathlib.Path) -> list[float]:
    return [line["loss"] for line in history(output)]


def weights_differ(one: pathlib.Path, other: pathlib.Path) -> float:
    """The largest difference of a weight; read on the CPU, in a process of its own."""
    code = (
        "import sys, keras, numpy as np; a, b = (keras.saving.load_model(p + '/last.keras', compile=False) for p in "
        "sys.argv[1:]); print(max(float(np.abs(x - y).max()) for x, y in zip(a.get_weights(), b.get_weights(), "
        "strict=True)))"
    )
    command = [sys.executable, "-c", code, str(one), str(other)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(CUDA_VISIBLE_DEVICES="-1")
    )
    if done.returncode:
        sys.exit(f"The weights of {one} and {other} cannot be compared:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def check_determinism(args: argparse.Namespace, results: Results, folder: pathlib.Path) -> None:
    small = pathlib.Path(args.small)
    runs = {name: folder / f"determinism-{name}" for name in ("one", "two", "free", "free-two")}
    for name, output in runs.items():
        train(small, output, "--deterministic" if "free" not in name else "--no-deterministic")
    same = weights_differ(runs["one"], runs["two"])
    free = weights_differ(runs["free"], runs["free-two"])
    rate = {name: max(rates(output)[1:]) for name, output in runs.items()}
    results.table("Determinism", ("", "largest difference of a weight", "images/s of the best epoch"), [
        ("two runs with --deterministic", f"{same:.2g}", f"{rate['one']:,.0f}, {rate['two']:,.0f}"),
        ("two runs with --no-deterministic", f"{free:.2g}", f"{rate['free']:,.0f}, {rate['free-two']:,.0f}"),
    ])  # fmt: skip
    results.figures["determinism"] = {"deterministic": same, "free": free, "rates": rate}
    results.say("Two runs with --deterministic give equal weights to the bit.", same == 0)


def check_cpu(args: argparse.Namespace, results: Results, folder: pathlib.Path) -> None:
    small = pathlib.Path(args.small)
    runs = {
        "CPU": {"CUDA_VISIBLE_DEVICES": "-1"},
        "GPU, float32": {"NVIDIA_TF32_OVERRIDE": "0"},
        "GPU, TensorFloat-32": {},
    }
    outputs = {name: folder / f"cpu-{i}" for i, name in enumerate(runs)}
    for name, variables in runs.items():
        train(small, outputs[name], **variables)
    curves = {name: losses(output) for name, output in outputs.items()}
    results.table("CPU and GPU: loss of each epoch", ("device", *(f"epoch {i + 1}" for i in range(EPOCHS))),
                  [(name, *(f"{loss:.5f}" for loss in curve)) for name, curve in curves.items()])  # fmt: skip
    results.figures["cpu"] = curves
    for name in list(runs)[1:]:
        apart = max(abs(a - b) for a, b in zip(curves["CPU"], curves[name], strict=True))
        results.say(f"The loss on {name} is at most {apart:.2g} from the CPU's (allowed: {LOSS_TOLERANCE}).",
                    apart <= LOSS_TOLERANCE)  # fmt: skip
    model = outputs["GPU, float32"]
    answers = {name: predictions(model, small, folder / f"answers-{i}.csv", variables)
               for i, (name, variables) in enumerate(runs.items())}  # fmt: skip
    for name in list(runs)[1:]:
        apart = max(
            abs(a - b) for key in answers["CPU"] for a, b in zip(answers["CPU"][key], answers[name][key], strict=True)
        )
        allowed = ANSWER_TOLERANCE[name.removeprefix("GPU, ")]
        results.figures[f"answers {name}"] = apart
        results.say(f"One network's probabilities on {name} differ from the CPU's by at most {apart:.2g} "
                    f"(allowed: {allowed}).", apart <= allowed)  # fmt: skip


def predictions(
    model: pathlib.Path, data: pathlib.Path, table: pathlib.Path, variables: dict[str, str]
) -> dict[str, list[float]]:
    """Record -> probabilities, as `evaluate` writes them."""
    output = table.with_suffix("")
    command = [
        sys.executable, "-m", "trainer", "evaluate", "--model", str(model), "--data", str(data), "--split", "test",
        "--output", str(output),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**variables))
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
    with open(output / "predictions-test.csv", encoding="utf-8") as file:
        return {
            line["key"]: [float(v) for k, v in line.items() if k.startswith("probability of ")]
            for line in csv.DictReader(file)
        }


def check_resume(args: argparse.Namespace, results: Results, folder: pathlib.Path) -> None:
    small = pathlib.Path(args.small)
    whole, cut = folder / "resume-whole", folder / "resume-cut"
    train(small, whole, "--deterministic")
    command = [sys.executable, "-m", "trainer", "train", "--data", str(small), "--output", str(cut), "--epochs",
               str(EPOCHS), "--deterministic"]  # fmt: skip
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (cut / "metrics.csv").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.wait()
    done = len(history(cut)) if (cut / "metrics.csv").exists() else 0
    train(small, cut, "--deterministic", "--resume")
    apart = weights_differ(whole, cut)
    results.figures["resume"] = {"stopped_after": done, "difference": apart}
    results.say(f"A run that was stopped in epoch {done + 1} and resumed differs from one that was not by {apart:.2g}.",
                apart == 0)  # fmt: skip


def check_mirrored(args: argparse.Namespace, results: Results, folder: pathlib.Path) -> None:
    """With resnet20, which draws no random numbers: those of a dropout differ between devices."""
    small, count = pathlib.Path(args.small), max(1, len(gpus()))
    one, all_ = folder / "mirrored-one", folder / "mirrored-all"
    train(small, one, "--model", "resnet20", "--batch-size", "64")
    train(small, all_, "--model", "resnet20", "--batch-size", "64", "--strategy", "mirrored")
    apart = max(abs(a - b) for a, b in zip(losses(one), losses(all_), strict=True))
    results.figures["mirrored"] = {"devices": count, "difference": apart, "rates": [rates(one)[-1], rates(all_)[-1]]}
    results.say(
        f"--strategy mirrored on {count} device(s): the loss of an epoch is at most {apart:.2g} from that of one "
        f"device (allowed: {LOSS_TOLERANCE}).",
        apart <= LOSS_TOLERANCE,
    )
    if count < 2:
        results.say("The gain of several GPUs was not measured: there is at most one.")
    else:
        results.say(f"{count} GPUs train {rates(all_)[-1] / rates(one)[-1]:.2f} times as many images/s as one.")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]
    if child := os.environ.pop("CHILD", ""):
        globals()[f"child_{child}"](*sys.argv[1:])
    else:
        main()
