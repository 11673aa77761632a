"""`shardmill`: one name for the commands of both programs, which loads no more than it is asked for."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time

import pytest

import pipelines.cli
import trainer.cli
from pipelines.cli import options
from tests.support.datasets import write_dataset
from trainer.cli import main as training
from trainer.cli import shardmill

ROOT = pathlib.Path(__file__).parents[3]
RUN = "import sys; from trainer.cli.shardmill import main; sys.exit(main())"


def run(*arguments: str, code: str = RUN, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path[0] = {str(ROOT)!r}; {code}"  # the installed script has no current folder either
    return subprocess.run([sys.executable, "-c", start, *arguments], cwd=cwd, capture_output=True, text=True)


def commands_of(parser) -> dict[str, str]:
    chosen = next(action for action in parser._actions if action.dest == "command")
    return {action.dest: action.help for action in chosen._choices_actions}


def test_help_lists_every_command_of_both_programs_in_a_line_each():
    shown = run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    listed = dict(re.findall(r"^  (\S+) +(.+)$", shown.stdout, re.MULTILINE))
    assert listed == commands_of(options.build_parser()) | commands_of(training._parser("p"))
    assert set(listed) == {
        "look", "prepare", "inspect", "verify", "sample", "worker-pool",
        "train", "lr", "evaluate", "compare", "label-check", "export", "predict", "bench", "doctor", "ablate",
    }  # fmt: skip
    assert shown.stdout.index("python -m pipelines") < shown.stdout.index("  prepare ") < shown.stdout.index("  train ")


def test_no_command_is_in_both_programs():
    assert not set(pipelines.cli.COMMANDS) & set(trainer.cli.COMMANDS)


LOADED = """
import json, sys
from trainer.cli.shardmill import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["no-such-command"], set()),
        (["verify", "--help"], {"pipelines.cli.main"}),
        (["train", "--help"], {"trainer.cli.main"}),
    ],
)
def test_only_the_program_that_is_asked_for_is_loaded(arguments, loaded):
    modules = set(json.loads(run(*arguments, code=f"exec({LOADED!r})").stdout.splitlines()[-1]))
    assert modules & {"pipelines.cli.main", "trainer.cli.main"} == loaded
    assert not modules & {"tensorflow", "numpy", "apache_beam"}
    assert loaded or "argparse" not in modules


def test_it_answers_within_a_tenth_of_a_second():
    def seconds(code: str) -> float:
        started = time.perf_counter()
        assert run("--help", code=code).returncode == 0
        return time.perf_counter() - started

    bare = min(seconds("pass") for _ in range(5))  # what the interpreter and this machine take anyway
    assert min(seconds(RUN) for _ in range(5)) - bare < 0.1


@pytest.mark.parametrize("command", [*pipelines.cli.COMMANDS, *trainer.cli.COMMANDS])
def test_usage_repeats_what_was_typed(command, capsys):
    program, main = ("pipelines", pipelines.cli) if command in pipelines.cli.COMMANDS else ("trainer", trainer.cli)
    for start, called in (
        (f"usage: shardmill {command} ", lambda: shardmill.main([command, "--help"])),
        (f"usage: python -m {program} {command} ", lambda: sys.modules[f"{main.__name__}.main"].main([command, "-h"])),
    ):
        with pytest.raises(SystemExit) as ended:
            called()
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "shardmill: error: a command is missing (--help lists all commands)"),
        (["x"], "shardmill: error: there is no command 'x' (--help lists all commands)"),
        (["trian"], "shardmill: error: there is no command 'trian'; did you mean train? (--help lists all commands)"),
        (["verify"], "shardmill verify: error: the following arguments are required: directory (--help"),
        (["export"], "shardmill export: error: the following arguments are required: --model, --data, --output"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_status_2(arguments, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_command_works_and_its_status_is_passed_on(tmp_path):
    write_dataset(tmp_path / "data")
    shown = run("inspect", str(tmp_path / "data"), "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["name"] == "tiny"
    assert run("verify", str(tmp_path / "nothing")).returncode == 1
    told = run("train", "--data", str(tmp_path / "nothing"), "--output", str(tmp_path / "run"))
    assert told.returncode == 1
    assert told.stderr.startswith("train: ")


@pytest.mark.slow
def test_a_model_may_be_a_function_in_the_current_folder(tmp_path):
    (tmp_path / "mine.py").write_text("def network(contract):\n    raise RuntimeError('was called')\n")
    write_dataset(tmp_path / "data")
    told = run("train", "--data", "data", "--output", "run", "--model", "mine:network", "--epochs", "1", cwd=tmp_path)
    assert "RuntimeError: was called" in told.stderr
