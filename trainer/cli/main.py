"""Parses the command line of `python -m trainer` and executes its command.

The commands are train, lr, evaluate, compare, label-check, export, predict, bench, doctor and ablate. Exit codes: 0 for
success, 1 for failure, 2 for wrong usage, 130 for an interrupt. TensorFlow is imported inside the commands, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pipelines
from pipelines import contract as contracts
from pipelines.contract.task import REGRESSION
from pipelines.core.console import streams, timings
from pipelines.core.console.terminal import silent_imports
from pipelines.core.elements import UNLABELLED
from pipelines.core.errors import ConfigError
from pipelines.options import command_line, config_fields
from pipelines.options.config_fields import flag
from trainer import recipe
from trainer.ablation.config import AblateConfig, check_data
from trainer.bench import config as bench
from trainer.cli import COMMANDS
from trainer.cli.commands import COULD_NOT_TELL, FAILED, guarded
from trainer.config import (
    DEFAULT_VERIFY,
    EXPORT_FORMATS,
    EXPORT_HELP,
    INT8,
    SLICE_BY_HELP,
    SLICE_HELP,
    SLICE_SIZE,
    TTA,
    TTA_HELP,
    TTA_NONE,
    TTA_NOTE,
    VERIFY,
    VERIFY_HELP,
    TrainConfig,
    derived_columns,
)
from trainer.doctor.config import STANDARD_OUTPUT, DoctorConfig
from trainer.serving import export_path
from trainer.serving.predict_config import FileBounds
from trainer.training.rate_range import RateRange

PROGRAM = "python -m trainer"


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Executes one command and returns its exit code.

    argparse exits with 2 on a wrong flag.

    Args:
      program: name of the program in usage lines and errors, as the user typed it before the command.
    """
    # TensorFlow's variables give NumPy 2 this warning whenever Keras saves them. With `python -W error` it would end
    # the program, and only TensorFlow can mend it.
    warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning)
    return streams.run(lambda: _main(sys.argv[1:] if argv is None else argv, program))


def _main(argv: Sequence[str], program: str) -> int:
    options, users = _of_users_program(argv)
    arguments = vars(_parser(program).parse_args(command_line.dashes(options)))
    command = arguments.pop("command")
    if command == "doctor":
        arguments["program"] = users
    commands = {
        "train": _train, "lr": _lr, "evaluate": _evaluate, "compare": _compare, "label-check": _label_check,
        "export": _export, "predict": _predict, "bench": _bench, "doctor": _doctor, "ablate": _ablate,
    }  # fmt: skip
    return guarded(command, lambda: commands[command](arguments))


def _of_users_program(argv: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """Separates the arguments of `doctor` before the user's program.

    What follows the name of the program belongs to it, also where it looks like an option of ours.
    """
    if not argv or argv[0] != "doctor":
        return argv, ()
    switches = {flag(field.name) for field in config_fields.options(DoctorConfig) if field.type == "bool"}
    index = 1
    while index < len(argv) and argv[index].startswith("-"):
        alone = "=" in argv[index] or argv[index] in switches or argv[index] in ("-h", "--help")
        index += 1 if alone else 2
    return argv[:index], tuple(argv[index:])


def _train(arguments: dict[str, Any]) -> None:
    from trainer import run_dir

    name = arguments.pop("recipe")
    values = recipe.filled(command_line.values(TrainConfig, arguments), name)
    config = command_line.made(TrainConfig, values)
    contracts.load(config.data)  # reports a wrong path within milliseconds, before TensorFlow is imported
    run_dir.check(config.output)
    began = time.perf_counter()
    with timings.noted() as seconds:
        with timings.part("imports"), silent_imports():
            from trainer.training import folds
        folds.run(config)
    if config.timings:
        print(f"\n{timings.text(seconds, time.perf_counter() - began)}")


def _lr(arguments: dict[str, Any]) -> None:
    ranges = {field.name for field in config_fields.options(RateRange)}
    tested = command_line.made(RateRange, {name: arguments.pop(name) for name in list(arguments) if name in ranges})
    name = arguments.pop("recipe")
    config = command_line.made(TrainConfig, recipe.filled(command_line.values(TrainConfig, arguments), name))
    contracts.load(config.data)
    with silent_imports():
        from trainer.training import rate_test

    found = rate_test.run(config, tested)
    print(rate_test.text(found))
    for path in rate_test.write(config.output, config, found):
        print(f"written to {path}")


def _evaluate(arguments: dict[str, Any]) -> None:
    from trainer import run_dir

    contract, derived = contracts.load(arguments["data"]), derived_columns(arguments.get("slice_by", ""))
    run_dir.finished(arguments["model"])
    with silent_imports():
        from trainer.evaluation import evaluate, read_metadata
        from trainer.models import keras_file
        from trainer.reporting import evaluation_files, score_table
        from trainer.tasks import kinds

    keras_file.import_modules(arguments["import"])
    task, wanted = kinds.of(contract), arguments["abstain_error"]

    def abstaining(model: Any, data: str, split: str, batch_size: int) -> Any:
        fitted = task.read_fitted(model.directory, model.contract)
        fitted, said = task.with_abstention(model.network, data, fitted, wanted)
        print(said)
        return task.assess(split, task.predict(model.network, data, split, batch_size), fitted)

    result = evaluate.evaluate(
        arguments["model"], arguments["data"], arguments["split"], arguments["batch_size"], arguments["verify"],
        abstaining if wanted else task.scored, arguments["tta"],
    )  # fmt: skip
    result = read_metadata.beside(result, arguments["data"], arguments["slice_size"], derived)
    if arguments["tta"] != TTA_NONE and contract.task.targets:
        print(TTA_NOTE)
    print(f"{arguments['split']}, {result.records} records\n{score_table.table(result)}")
    views = evaluate.VIEWS[arguments["tta"]]
    if views:
        print(views)
    if arguments["output"]:
        for path in evaluation_files.write(arguments["output"], arguments["model"], arguments["data"], result, views):
            print(f"written to {path}")


def _compare(arguments: dict[str, Any]) -> None:
    from pipelines.core.files import atomic
    from trainer.evaluation import compare
    from trainer.reporting import comparison

    if not compare.are_classifiers(arguments["runs"], arguments["split"]):
        _compare_others(arguments)
        return
    found = compare.compare(arguments["runs"], arguments["split"])
    print(comparison.text(found))
    if arguments["json"]:
        atomic.write_text(Path(arguments["json"]), atomic.to_json(comparison.to_dict(found)))
    if arguments["html"]:
        atomic.write_text(Path(arguments["html"]), comparison.html(found))
    for path in filter(None, (arguments["json"], arguments["html"])):
        print(f"written to {path}")


def _compare_others(arguments: dict[str, Any]) -> None:
    """Compares runs that answer labels or numbers."""
    with silent_imports():
        from pipelines.core.files import atomic
        from trainer.reporting import task_comparison
        from trainer.tasks import answer_comparison

    found = answer_comparison.compare_runs(arguments["runs"], arguments["split"])
    print(task_comparison.text(found))
    if arguments["json"]:
        atomic.write_text(Path(arguments["json"]), atomic.to_json(task_comparison.to_dict(found)))
    if arguments["html"]:
        atomic.write_text(Path(arguments["html"]), task_comparison.html(found))
    for path in filter(None, (arguments["json"], arguments["html"])):
        print(f"written to {path}")


def _export(arguments: dict[str, Any]) -> None:
    from trainer import run_dir

    contract = contracts.load(arguments["data"])
    run = run_dir.finished(arguments["model"])
    export_path.check(arguments["output"], arguments["format"])
    with silent_imports():
        from trainer.models import alignment, build, keras_file
        from trainer.serving import export, quantized
        from trainer.tasks import kinds

    keras_file.import_modules(arguments["import"])
    trained = contracts.load(run.directory)
    alignment.check_contracts(trained, contract)
    task = kinds.of(trained)
    fitted = task.read_fitted(run.directory, trained)
    network, kind = build.load(run.model), arguments["format"]
    if arguments["abstain_error"]:
        fitted, said = task.with_abstention(network, arguments["data"], fitted, arguments["abstain_error"])
        print(said)
    found = export.write(network, arguments["data"], contract, arguments["output"], fitted, kind)
    print(f"written to {arguments['output']}; {found.sentence(task.unit)}")
    if kind == INT8:
        print(quantized.loss(Path(arguments["output"]), network, arguments["data"], fitted).sentence(task.unit))


def _predict(arguments: dict[str, Any]) -> int:
    if arguments["data"]:
        return _answer_split(arguments)
    if not arguments["files"] or arguments["table"] or arguments["split"]:
        raise ConfigError(
            "predict should have image files, or a dataset with --data DIR --split NAME --table FILE. --split and "
            "--table are about a dataset."
        )
    named = [field.name for field in config_fields.options(FileBounds) if field.name in arguments]
    bounds = command_line.made(FileBounds, {name: arguments[name] for name in named})
    with silent_imports():
        from trainer.serving import predict

    model, as_json, failed = predict.load(arguments["model"]), arguments["json"], False
    if arguments["tta"] != TTA_NONE:
        model = _averaged(model, arguments)
    for answer in predict.predict(model, arguments["files"], bounds):
        if answer.probabilities is None:
            failed = True
            print(f"predict: {predict.error_line(answer)}", file=sys.stderr)
        if as_json or answer.probabilities is not None:
            print(predict.json_line(model, answer) if as_json else predict.text_line(model, answer))
    return FAILED if failed else 0


def _averaged(model: Any, arguments: dict[str, Any]) -> Any:
    """Returns a model for `predict` that answers the mean over several views."""
    with silent_imports():
        from trainer.models import keras_file
        from trainer.serving import predict_views

    keras_file.import_modules(arguments["import"])
    if model.about.get("task", {}).get("kind") == REGRESSION:
        print(TTA_NOTE, file=sys.stderr)
    return predict_views.averaged(model, arguments["model"], arguments["tta"])


def _answer_split(arguments: dict[str, Any]) -> int:
    """Answers the records of a split into a table."""
    if arguments["files"] or arguments["json"] or not arguments["table"]:
        raise ConfigError("predict --data DIR should have --table FILE, and neither image files nor --json.")
    data, split, path = arguments["data"], arguments["split"] or UNLABELLED, Path(arguments["table"])
    contract = contracts.load(data)
    contract.split(split)
    with silent_imports():
        from pipelines.core.files import atomic
        from trainer.models import keras_file
        from trainer.serving import answer_table

    keras_file.import_modules(arguments["import"])
    if arguments["tta"] != TTA_NONE and contract.task.targets:
        print(TTA_NOTE)
    found = answer_table.answer(arguments["model"], data, split, arguments["tta"])
    atomic.write_text(path, answer_table.to_csv(found, data, split))
    print(
        f"{len(found.keys):,} answers of {split} are in {path}, the least sure first. Correct the column label, then: "
        f"prepare --corrections {path} --like {data}"
    )
    return 0


def _label_check(arguments: dict[str, Any]) -> None:
    from trainer.evaluation import held_out_predictions

    found = held_out_predictions.read(arguments["runs"], arguments["data"])
    with silent_imports():
        from pipelines.core.files import atomic
        from trainer.reporting import label_page

    doubts = found.doubts()
    named = held_out_predictions.doubts(found, doubts, arguments["most"])
    print(label_page.text(found, doubts, named))
    output = Path(arguments["output"] or arguments["runs"][0])
    output.mkdir(parents=True, exist_ok=True)
    title = f"Labels checked by {', '.join(Path(run).resolve().name for run in arguments['runs'][:3])}"
    texts = {
        "label-check.html": label_page.html(found, doubts, named, title),
        "corrections.csv": label_page.to_csv(named),
    }
    for name, content in texts.items():
        atomic.write_text(output / name, content)
        print(f"written to {output / name}")


def _bench(arguments: dict[str, Any]) -> None:
    config = command_line.made(bench.BenchConfig, arguments)
    bench.check_split(config, contracts.load(config.data))
    with silent_imports():
        from pipelines.core.files import atomic
        from trainer.bench import measure as timing
        from trainer.bench import verdict as verdicts

    found, about = timing.run(config)
    verdict = verdicts.judge(found)
    print(f"\n{verdicts.table(found)}\n\n{verdict.sentence}", *verdict.advice, sep="\n- ")
    if config.json:
        content = verdicts.to_dict(config, found, verdict, about)
        atomic.write_text(Path(config.json), atomic.to_json(content))
        print(f"\nwritten to {config.json}")


def _doctor(arguments: dict[str, Any]) -> int:
    from trainer.doctor import command as doctor

    config = command_line.made(DoctorConfig, arguments)
    if not config.program:
        with silent_imports():
            from trainer.doctor import named  # noqa: F401 - what `examine` imports, without the notices of TensorFlow
    report = doctor.examine(config)
    if config.json == STANDARD_OUTPUT:
        print(doctor.to_json(report), end="")
    else:
        print(report.text())
        for path in filter(None, (config.json, config.html)):
            print(f"\nwritten to {path}")
    if report.failed:
        return FAILED
    return COULD_NOT_TELL if report.uncertain else 0


def _ablate(arguments: dict[str, Any]) -> None:
    config = command_line.made(AblateConfig, arguments)
    check_data(config)
    with silent_imports():
        from trainer.ablation import ablate as run
        from trainer.ablation import report

    study = run.ablate(config)
    print(f"\n{report.text(study)}")
    for suffix in ("html", "md", "png", "json"):
        print(f"written to {Path(config.output) / f'ablation.{suffix}'}")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = command_line.Parser(
        prog=program, description="Trains image classifiers on datasets made by `python -m pipelines`."
    )
    parser.add_argument("--version", action="version", version=f"shardmill {pipelines.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = _command(commands, "train")
    recipe.add(train)
    command_line.add_with_file(train, TrainConfig, "such as config.yaml of an earlier run")
    rates = _command(commands, "lr")
    recipe.add(rates)
    command_line.add(rates, RateRange)
    command_line.add_with_file(rates, TrainConfig, "such as config.yaml of a run")
    measure = _command(commands, "bench")
    command_line.add(measure, bench.BenchConfig)
    examine = _command(commands, "doctor")
    command_line.add(examine, DoctorConfig)
    examine.usage = (
        "%(prog)s [options] PROGRAM [its arguments]\n       %(prog)s [options] --data|--dataset|--model|--history ..."
    )
    examine.epilog = (
        "PROGRAM is a script (.py) or notebook (.ipynb) that trains. Exit status: 0 healthy or warnings only, 1 an "
        "error, 2 a wrong flag, 3 it could not be told. docs/doctor.md has all findings."
    )
    ablate = _command(commands, "ablate")
    command_line.add(ablate, AblateConfig)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_label_check(commands)
    _add_export(commands)
    _add_predict(commands)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluate = _command(commands, "evaluate")
    _add_run_and_data(evaluate)
    evaluate.add_argument("--split", default="test", help="split to score (default: test)")
    evaluate.add_argument(
        "--batch-size",
        type=command_line.positive,
        default=64,
        metavar="N",
        help="number of images per step (default: 64)",
    )
    evaluate.add_argument("--tta", choices=TTA, default=TTA_NONE, help=f"{TTA_HELP} (default: none)")
    evaluate.add_argument("--verify", choices=VERIFY, default=DEFAULT_VERIFY, help=f"{VERIFY_HELP} (default: fast)")
    evaluate.add_argument(
        "--slice-size", type=command_line.positive, default=SLICE_SIZE, metavar="N",
        help=f"{SLICE_HELP} (default: {SLICE_SIZE})",
    )  # fmt: skip
    evaluate.add_argument(
        "--slice-by", action=command_line.Once, default=argparse.SUPPRESS, metavar="NAME,NAME",
        help=f"{SLICE_BY_HELP} (default: none)",
    )  # fmt: skip
    evaluate.add_argument(
        "--output", default="", metavar="PATH",
        help="directory to write metrics.json, evaluation.html and the predictions to; or a file that ends in .json, "
        "to write only the metrics to",
    )  # fmt: skip


def _add_compare(commands: Any) -> None:
    compare = _command(commands, "compare")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="--output directory of a training run or an evaluation")
    compare.add_argument("--split", default="test", help="split whose predictions are compared (default: test)")
    compare.add_argument("--json", default="", metavar="FILE", help="JSON file to write the comparison to")
    compare.add_argument("--html", default="", metavar="FILE", help="HTML file to write the comparison to")


def _add_label_check(commands: Any) -> None:
    labels = _command(commands, "label-check")
    labels.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="--output directory of a training run or of an evaluation: the records that it predicted are judged; "
        "several runs may judge parts of the records",
    )  # fmt: skip
    labels.add_argument(
        "--data", default="", metavar="DIR", help="directory of the prepared dataset (default: that of each run)"
    )
    labels.add_argument(
        "--most", type=command_line.positive, default=200, metavar="N", help="most images to name (default: 200)"
    )
    labels.add_argument(
        "--output", default="", metavar="DIR",
        help="directory to write label-check.html and corrections.csv to (default: that of the first run)",
    )  # fmt: skip


def _add_export(commands: Any) -> None:
    export = _command(commands, "export")
    _add_run_and_data(export)
    export.add_argument("--format", choices=EXPORT_FORMATS, default=EXPORT_FORMATS[0], help=EXPORT_HELP)
    export.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="directory for a SavedModel, or file that ends in .tflite or .onnx, to write the export to",
    )


def _add_run_and_data(command: argparse.ArgumentParser) -> None:
    """Adds what `evaluate` and `export` need of a run and of a dataset."""
    command.add_argument("--model", required=True, metavar="DIR", help="--output directory of a finished training run")
    command.add_argument("--data", required=True, metavar="DIR", help="directory of a prepared dataset")
    command.add_argument(
        "--abstain-error", type=_error, default=0.0, metavar="E",
        help="wanted share of wrong answers among those that the model gives: it abstains from an image if its "
        "largest probability is below a threshold, which is chosen on the validation split of --data (default: "
        "what the training chose, or no abstaining)",
    )  # fmt: skip
    _add_import(command)


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--import", default="", metavar="MODULE,MODULE",
        help="modules to import before the model of a run is loaded: those that register its own layers with "
        "keras.saving.register_keras_serializable, such as keras_hub",
    )  # fmt: skip


def _add_predict(commands: Any) -> None:
    predict = _command(commands, "predict")
    predict.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="directory of a finished training run or of an exported SavedModel",
    )
    predict.add_argument(
        "--json", action="store_true", help="write one JSON object per line, with the probability of every label"
    )
    predict.add_argument(
        "--data",
        default="",
        metavar="DIR",
        help="directory of a prepared dataset, to answer its records instead of files",
    )
    predict.add_argument("--split", default="", metavar="NAME", help="split of --data to answer (default: unlabelled)")
    predict.add_argument(
        "--table", default="", metavar="FILE",
        help="CSV file to write the answers on --data to: a table to correct, which prepare --corrections takes back",
    )  # fmt: skip
    predict.add_argument(
        "--tta", choices=TTA, default=TTA_NONE, help=f"{TTA_HELP}; of an exported SavedModel flip only (default: none)"
    )
    _add_import(predict)
    command_line.add(predict, FileBounds)
    predict.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="image file or folder of image files; -: read the paths from standard input, one per line",
    )


def _error(text: str) -> float:
    """Reads the value of --abstain-error.

    Raises:
      argparse.ArgumentTypeError: it is no number above 0 and up to 0.5.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError(f"should be above 0 and at most 0.5. Received: {text!r}")
    return value


def _command(commands: Any, name: str) -> argparse.ArgumentParser:
    # Abbreviations are off, because --class would silently mean another option once a second one begins with it.
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=COMMANDS[name], description=COMMANDS[name], allow_abbrev=False
    )
    return parser
