"""The command line: `python -m trainer train | evaluate | export | bench | doctor | ablate`.

Exit codes: 0 done, 1 failed, 2 usage. TensorFlow is imported inside the commands: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines import contract as contracts
from pipelines.contract import ContractError
from trainer import bench
from trainer.ablation.config import AblateConfig, check_data
from trainer.config import DEFAULT_VERIFY, VERIFY, VERIFY_HELP, TrainConfig, TrainerError, flag
from trainer.doctor.config import STANDARD_OUTPUT, DoctorConfig

FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; argparse exits with 2 on a wrong flag."""
    arguments = vars(_parser().parse_args(_dashes(sys.argv[1:] if argv is None else argv)))
    command = arguments.pop("command")
    # Before TensorFlow is imported: the trainer is Keras on TensorFlow, and start-up chatter hides real messages.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = _show_warning
    commands = {
        "train": _train, "evaluate": _evaluate, "export": _export, "bench": _bench, "doctor": _doctor,
        "ablate": _ablate,
    }  # fmt: skip
    try:
        return commands[command](arguments) or 0
    except (TrainerError, ContractError) as e:
        print(f"{command}: {e}", file=sys.stderr)
        return FAILED
    except OSError as e:
        print(f"{command}: {e.strerror or e}: {e.filename or ''}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return FAILED
    except Exception as e:
        if not _is_bad_data(e):
            raise
        print(
            f"{command}: a shard holds a damaged record ({str(e).splitlines()[0][:300]}): "
            "find it with `python -m pipelines verify DIR` and prepare the dataset again.",
            file=sys.stderr,
        )
        return FAILED


def _train(arguments: dict[str, Any]) -> None:
    config = TrainConfig(**arguments)
    contracts.load(config.data)  # a wrong path is told in milliseconds, before TensorFlow
    with _quiet_start():
        from trainer.train import train

    train(config, say=lambda line: print(line, flush=True))


def _evaluate(arguments: dict[str, Any]) -> None:
    contracts.load(arguments["data"])
    with _quiet_start():
        from trainer import evaluate, metrics

    result = evaluate.evaluate(
        arguments["model"], arguments["data"], arguments["split"], arguments["batch_size"], arguments["verify"]
    )
    print(f"{arguments['split']}, {result.records} records\n{metrics.table(result)}")
    if arguments["output"]:
        content = evaluate.report(arguments["model"], arguments["data"], arguments["split"], result)
        evaluate.write_report(arguments["output"], content)
        print(f"written to {arguments['output']}")


def _export(arguments: dict[str, Any]) -> None:
    contract = contracts.load(arguments["data"])
    with _quiet_start():
        from trainer import alignment, calibration, export, model, outputs

    run = outputs.finished(arguments["model"])
    alignment.check_contracts(contracts.load(run.directory), contract)
    fitted = calibration.read(run.directory)
    export.write(model.load(run.model), arguments["data"], contract, arguments["output"], fitted)
    print(f"written to {arguments['output']}")


def _bench(arguments: dict[str, Any]) -> None:
    config = bench.BenchConfig(**arguments)
    bench.check_split(config, contracts.load(config.data))
    with _quiet_start():
        from trainer import outputs, timing

    found, about = timing.run(config, say=lambda line: print(line, flush=True))
    verdict = bench.judge(found)
    print(f"\n{bench.table(found)}\n\n{verdict.sentence}", *verdict.advice, sep="\n- ")
    if config.json:
        content = bench.to_dict(config, found, verdict, about)
        outputs.write_text(Path(config.json), json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        print(f"\nwritten to {config.json}")


def _doctor(arguments: dict[str, Any]) -> int:
    config = DoctorConfig(**arguments)
    with _quiet_start():
        from trainer.doctor import doctor
    report = doctor.examine(config)
    if config.json == STANDARD_OUTPUT:
        print(doctor.to_json(report), end="")
        return FAILED if report.failed else 0
    print(report.text())
    for path in filter(None, (config.json, config.html)):
        print(f"\nwritten to {path}")
    return FAILED if report.failed else 0


def _ablate(arguments: dict[str, Any]) -> None:
    config = AblateConfig(**arguments)
    check_data(config)
    with _quiet_start():
        from trainer.ablation import report, run

    study = run.ablate(config, say=lambda line: print(line, flush=True))
    print(f"\n{report.text(study)}")
    for suffix in ("html", "md", "png", "json"):
        print(f"written to {Path(config.output) / f'ablation.{suffix}'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer", description="Trains image classifiers on datasets made by `python -m pipelines`."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = _command(commands, "train", "train on a prepared dataset, evaluate, export")
    for field in dataclasses.fields(TrainConfig):
        _add_option(train, field)
    measure = _command(commands, "bench", "tell whether training waits for its input, and what to change")
    for field in dataclasses.fields(bench.BenchConfig):
        _add_option(measure, field)
    examine = _command(commands, "doctor", "tell why the accuracy is low: look at data, model and a past training")
    for field in dataclasses.fields(DoctorConfig):
        _add_option(examine, field)
    ablate = _command(commands, "ablate", "tell what each step of preparing and training is worth on your images")
    for field in dataclasses.fields(AblateConfig):
        _add_option(ablate, field)
    evaluate = _command(commands, "evaluate", "score a trained model on a split")
    export = _command(commands, "export", "write the SavedModel of a trained model again")
    for command in (evaluate, export):
        command.add_argument("--model", required=True, metavar="DIR", help="--output directory of a training run")
        command.add_argument("--data", required=True, metavar="DIR", help="directory of a prepared dataset")
    evaluate.add_argument("--split", default="test", help="split to score (default: test)")
    evaluate.add_argument("--batch-size", type=_positive, default=64, metavar="N", help="images a step (default: 64)")
    evaluate.add_argument("--verify", choices=VERIFY, default=DEFAULT_VERIFY, help=f"{VERIFY_HELP} (default: fast)")
    evaluate.add_argument("--output", default="", metavar="FILE", help="also write the metrics to this JSON file")
    export.add_argument("--output", required=True, metavar="DIR", help="directory of the SavedModel to write")
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    # Abbreviations are off: --class would silently become another option when a second one begins that way.
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    return parser


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    text = str(field.metadata["help"]).replace("%", "%%")
    required = field.default is dataclasses.MISSING
    if not required and field.default != "":
        text += f" (default: {field.default})"
    options: dict[str, Any] = {"help": text, "required": required}
    if not required:
        options["default"] = field.default
    if str(field.type) == "bool":
        options["action"] = argparse.BooleanOptionalAction
    else:
        options["type"] = {"str": str, "int": int, "float": float}[str(field.type)]
        options["choices"] = field.metadata.get("choices")
        metavar = {"str": "NAME", "int": "N", "float": "X"}[str(field.type)]
        options["metavar"] = None if options["choices"] else field.metadata.get("metavar", metavar)
    parser.add_argument(flag(field.name), dest=field.name, **options)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"should be at least 1. Received: {value}")
    return value


def _dashes(argv: Sequence[str]) -> list[str]:
    """--batch_size=8 -> --batch-size=8; values are left alone."""
    result = []
    for argument in argv:
        name, equals, value = argument.partition("=")
        result.append((name.replace("_", "-") if name.startswith("--") else name) + equals + value)
    return result


def _is_bad_data(error: Exception) -> bool:
    """TensorFlow's errors for a record that cannot be read; other errors of TensorFlow are defects and keep a trace."""
    errors = sys.modules["tensorflow"].errors if "tensorflow" in sys.modules else None
    if errors is None:
        return False
    if isinstance(error, errors.InvalidArgumentError | errors.FailedPreconditionError):
        return "IteratorGetNext" in str(error)
    return isinstance(error, errors.DataLossError)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Keeps from stderr what TensorFlow's libraries write while they load, which no log level stops.

    Where the import fails, all of it is shown.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(saved, said.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
