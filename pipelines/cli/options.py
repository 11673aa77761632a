"""Declares the options of `python -m pipelines`.

It imports nothing heavy: `--help` has to be instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pipelines
from pipelines.cli import COMMANDS, for_network
from pipelines.config import READING, PrepareConfig, pixel_options
from pipelines.options import command_line, config_fields
from pipelines.options.command_line import Parser

PROGRAM = "python -m pipelines"


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of all commands.

    `prepare` leaves options that it does not know to Beam.

    Args:
      program: what the user typed before the command; usage lines and errors repeat it.
    """
    parser = Parser(prog=program, description="Prepare labelled images as sharded, normalized, balanced TFRecords.")
    parser.add_argument("--version", action="version", version=f"shardmill {pipelines.__version__}")
    parser.keeps_unknown = True  # only `prepare` leaves any
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_look(commands)
    _add_prepare(commands)
    inspect = commands.add_parser("inspect", help=COMMANDS["inspect"])
    inspect.add_argument("directory", help="the folder of the prepared dataset; local, gs:// or s3://")
    inspect.add_argument("--json", action="store_true", help="print the description as JSON (default: as a table)")
    inspect.add_argument("--images", metavar="PNG",
        help="also draw a contact sheet into this file, each source image next to its record (default: "
        "no sheet)")  # fmt: skip
    inspect.add_argument("--split", default="train", help="the split that --images draws (default: train)")
    verify = commands.add_parser("verify", help=COMMANDS["verify"])
    verify.add_argument("directory", help="the folder of the prepared dataset; local, gs:// or s3://")
    verify.add_argument("--source", nargs="?", const="", metavar="PATH",
        help="also compare the content of the inputs with that of the inputs which the dataset was made of; PATH says "
        "where the inputs are now, if they were moved (default: do not compare)")  # fmt: skip
    verify.add_argument("--json", action="store_true",
        help="print every finding as JSON (default: print the first findings as text)")  # fmt: skip
    pool = commands.add_parser("worker-pool", help=COMMANDS["worker-pool"])
    pool.add_argument("--port", type=int, default=50000,
        help="the TCP port to listen on (default: 50000, where prepare tells engines to look for the "
        "pool)")  # fmt: skip
    pool.add_argument("--host", default="localhost",
        help="the address to listen on; everyone who can reach it can execute code on this machine (default: "
        "localhost)")  # fmt: skip
    sample = commands.add_parser("sample", help=COMMANDS["sample"])
    sample.add_argument("--output", required=True, help="the local folder to draw the images into")
    sample.add_argument("--count", type=int, default=1500,
        help="the number of images, of which every tenth shows a cracked egg (default: 1500)")  # fmt: skip
    sample.add_argument("--seed", type=int, default=0,
        help="the seed of the random numbers; another seed draws other images (default: 0)")  # fmt: skip
    return parser


def _add_look(commands: argparse._SubParsersAction[Parser]) -> None:
    p = commands.add_parser(
        "look", help=COMMANDS["look"], allow_abbrev=False,
        description="Lists an input as prepare does, without reading an image, and shows how it is read.",
    )  # fmt: skip
    p.add_argument("input", metavar="INPUT", help="what would be --input of prepare; local, gs:// or s3://")
    command_line.add_group(p, PrepareConfig, READING)
    command_line.add_named(
        p, PrepareConfig, ("bands", "bit_depth", "color_profile", "truncated"), "how the images of --images are read"
    )
    p.add_argument("--images", metavar="PNG",
        help="also draw a contact sheet into this file, with a row of images for each class (default: no "
        "sheet)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print what is found as JSON (default: as a table)")


def look_config(args: argparse.Namespace) -> PrepareConfig:
    """Returns the options of parsed `look` arguments.

    They are those of a `prepare` that writes nothing.

    Raises:
      ConfigError: an option has a wrong value.
    """
    known = {f.name for f in config_fields.options(PrepareConfig)}
    given = {name: value for name, value in vars(args).items() if name in known}
    return command_line.made(PrepareConfig, given | {"output": "none"})


def _add_prepare(commands: argparse._SubParsersAction[Parser]) -> None:
    p = commands.add_parser(
        "prepare",
        help=COMMANDS["prepare"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        description="Decodes, resizes, balances and normalizes labelled images into sharded TFRecords with a contract.",
        epilog=(
            "Apache Beam's own options pass through (--direct_num_workers, --flink_master, --project, ...).\n"
            "An option that neither prepare nor Beam knows is an error.\n"
            "Exit status: 0 done, 1 failed, 2 usage, 3 too much bad data."
        ),
    )
    p.keeps_unknown = True
    command_line.add_with_file(p, PrepareConfig, "without --runner and Beam's options")
    p.add_argument("--for", dest="network", default="", metavar="NETWORK", help=for_network.HELP)
    p.add_argument("--runner", default="DirectRunner",
        help="the Beam runner: DirectRunner (in this process), FlinkRunner, SparkRunner, PrismRunner, DataflowRunner "
        "or another of Beam's; see docs/engines (default: DirectRunner)")  # fmt: skip


def prepare_config(args: argparse.Namespace) -> PrepareConfig:
    """Returns the checked configuration of parsed `prepare` arguments.

    Raises:
      ConfigError: an option is missing or has a wrong value, or the file of --config cannot be used.
      ContractError: --like names no complete dataset.
    """
    known = {f.name for f in config_fields.options(PrepareConfig)} | {"config"}
    given = command_line.values(PrepareConfig, {name: v for name, v in vars(args).items() if name in known})
    given = pixel_options.with_stated_size(given)
    given = for_network.filled(given, getattr(args, "network", ""))
    if given.get("like"):
        from pipelines.dataset import earlier_dataset  # it reads the dataset: seldom needed

        given = earlier_dataset.inherited(given)
    return command_line.made(PrepareConfig, given)


def parse(argv: Sequence[str], program: str = PROGRAM) -> tuple[argparse.Namespace, list[str]]:
    """Parses the command line; exits with 2 on a mistake, as argparse does.

    Returns:
      (arguments, the flags that are left for Beam).
    """
    args, rest = build_parser(program).parse_known_args(list(argv))
    return args, rest
