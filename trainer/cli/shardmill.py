"""Dispatches the commands of both programs under one name: `shardmill COMMAND`.

It loads only the program of the given command. `--help` loads none, so that it answers at once. This module is in the
trainer because the trainer may import pipelines, but pipelines may not import the trainer.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence

import pipelines
import pipelines.cli
import trainer.cli
from pipelines.core.console import streams

PROGRAM = "shardmill"
USAGE = 2  # exit status for wrong usage, the same as argparse's


def main(argv: Sequence[str] | None = None) -> int:
    """Executes one command of either program and returns its exit status."""
    return streams.run(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else ""
    if command in pipelines.cli.COMMANDS:
        from pipelines.cli import main as preparing

        return preparing.main(arguments, PROGRAM)
    if command in trainer.cli.COMMANDS:
        from trainer.cli import main as training

        _find_modules_here()
        return training.main(arguments, PROGRAM)
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(f"{PROGRAM} {pipelines.__version__}")
        return 0
    print(_refusal(command), file=sys.stderr)
    return USAGE


def usage() -> str:
    """Returns the text of `shardmill --help`: each program's commands, one per line."""
    names = [*pipelines.cli.COMMANDS, *trainer.cli.COMMANDS]
    width = max(map(len, names))
    lines = [f"usage: {PROGRAM} [-h] [--version] COMMAND ...", ""]
    for title, commands in (
        ("prepare a dataset (python -m pipelines)", pipelines.cli.COMMANDS),
        ("train on it (python -m trainer)", trainer.cli.COMMANDS),
    ):
        lines += [f"{title}:", *(f"  {name:{width}}  {text}" for name, text in commands.items()), ""]
    return "\n".join([*lines, f"`{PROGRAM} COMMAND --help` lists the options of a command."])


def _find_modules_here() -> None:
    """Adds the current folder to sys.path, so that `--model module:function` finds it.

    `python -m trainer` does the same by itself. The folder goes to the end of sys.path: at the beginning, the packages
    of a checkout that is the current folder would mix with the installed ones.
    """
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _refusal(command: str) -> str:
    if not command:
        return f"{PROGRAM}: error: a command is missing (--help lists all commands)"
    near = difflib.get_close_matches(command, [*pipelines.cli.COMMANDS, *trainer.cli.COMMANDS], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{PROGRAM}: error: there is no command {command!r}{hint} (--help lists all commands)"
