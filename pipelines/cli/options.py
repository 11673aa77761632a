"""Declares the options of `python -m pipelines`.

It imports nothing heavy: `--help` has to be instant.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import NoReturn

import pipelines
from pipelines import contract
from pipelines.cli import COMMANDS
from pipelines.config import AUGMENT_DEFAULTS, DUPLICATES, QUALITIES, PrepareConfig
from pipelines.core.errors import ConfigError

PROGRAM = "python -m pipelines"
_DEFAULTS = {
    f.name: f.default if f.default is not dataclasses.MISSING else None for f in dataclasses.fields(PrepareConfig)
}


class _Parser(argparse.ArgumentParser):
    """Prints a mistake in one line; --help prints the complete usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. See {self.prog} --help.\n")


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of all commands.

    `prepare` leaves options that it does not know to Beam.

    Args:
      program: what the user typed before the command; usage lines and errors repeat it.
    """
    parser = _Parser(prog=program, description="Prepare labelled images as sharded, normalized, balanced TFRecords.")
    parser.add_argument("--version", action="version", version=f"shardmill {pipelines.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prepare(commands)
    inspect = commands.add_parser("inspect", help=COMMANDS["inspect"])
    inspect.add_argument("directory", help="the dataset")
    inspect.add_argument("--json", action="store_true", help="print JSON instead of a table")
    inspect.add_argument("--images", metavar="PNG", help="draw a contact sheet, source beside stored")
    inspect.add_argument("--split", default="train", help="the split to draw (default: train)")
    verify = commands.add_parser("verify", help=COMMANDS["verify"])
    verify.add_argument("directory", help="the dataset")
    verify.add_argument("--source", nargs="?", const="", metavar="PATH",
        help="also compare the inputs, by content, with those it was made of (PATH: where they are now)")  # fmt: skip
    verify.add_argument("--json", action="store_true", help="print JSON with every finding instead of the first lines")
    pool = commands.add_parser("worker-pool", help=COMMANDS["worker-pool"])
    pool.add_argument("--port", type=int, default=50000, help="(default: 50000, where prepare lets engines look)")
    pool.add_argument("--host", default="localhost",
        help="the address to listen on; whoever reaches it can run code here (default: localhost)")  # fmt: skip
    sample = commands.add_parser("sample", help=COMMANDS["sample"])
    sample.add_argument("--output", required=True, help="the folder to make")
    sample.add_argument("--count", type=int, default=1500, help="images to draw (default: 1500)")
    sample.add_argument("--seed", type=int, default=0)
    return parser


def _add_prepare(commands: argparse._SubParsersAction[_Parser]) -> None:
    p = commands.add_parser(
        "prepare",
        help=COMMANDS["prepare"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        description="Decodes, resizes, balances and normalizes labelled images into sharded TFRecords with a contract.",
        epilog=(
            "Apache Beam's own options pass through (--direct_num_workers, --flink_master, --project, ...).\n"
            "An option that neither knows is an error. Exit status: 0 done, 1 failed, 2 usage, 3 too much bad data."
        ),
    )
    d = _DEFAULTS
    what = p.add_argument_group("input and output")
    what.add_argument("--input", required=True, metavar="PATH",
        help="a folder of class folders or of split/class folders, a CSV, JSONL or Parquet manifest (path, label, "
        "optionally split, group, weight), or a glob; local, gs:// or s3://")  # fmt: skip
    what.add_argument("--output", required=True, metavar="DIR", help="the dataset to make")
    what.add_argument("--name", default=d["name"], help="NAME in NAME-train.tfrecord-… (default: the folder's)")
    what.add_argument("--layout", default=d["layout"], choices=("auto", "class", "split"),
        help="whether the top folders are classes or splits (default: by their names)")  # fmt: skip
    what.add_argument("--allow-outside", action="store_true", help="follow links and paths that leave the input")
    what.add_argument("--max-reject-rate", type=float, default=d["max_reject_rate"], metavar="RATE",
        help="fail, publishing nothing, if more than this part of the inputs is bad (default: 0.01)")  # fmt: skip
    what.add_argument("--max-pixels", type=int, default=d["max_pixels"], help="reject larger images (default: 64 Mi)")
    what.add_argument("--max-frames", type=int, default=d["max_frames"],
        help="reject animations and TIFFs of more; only the first is used (default: 1000)")  # fmt: skip
    what.add_argument("--max-file-bytes", type=int, default=d["max_file_bytes"],
        help="reject larger files, unread (default: 256 Mi)")  # fmt: skip
    what.add_argument("--image-timeout", type=float, default=d["image_timeout"], metavar="SECONDS",
        help="reject an image that takes longer to read or decode (default: 60)")  # fmt: skip
    what.add_argument("--image-memory", type=_bytes, default="1G", metavar="SIZE",
        help="reject an image that takes more; each worker may take so much (default: 1G)")  # fmt: skip
    pixels = p.add_argument_group("pixels")
    pixels.add_argument("--size", type=_size, default="128x128", metavar="HxW", help="(default: 128x128)")
    pixels.add_argument("--resize", default=d["resize"], choices=contract.RESIZE_MODES,
        help="change the aspect, cut the centre, pad with the background, or none: the pixels as they are, cut or "
        "padded to the size around their centre, to compare with (default: stretch)")  # fmt: skip
    pixels.add_argument("--filter", default=d["filter"], choices=contract.FILTERS,
        help="both antialiased: area is the exact average over each target pixel (default: area)")  # fmt: skip
    pixels.add_argument("--quality", default=d["quality"], choices=QUALITIES,
        help="fast: JPEGs of at least twice the size are shrunk by 2, 4 or 8 while they are decoded, which changes "
        "values by one to two gray levels on average (default: exact)")  # fmt: skip
    pixels.add_argument("--background", type=_color, default="255,255,255", metavar="R,G,B",
        help="behind transparent pixels and around padding (default: 255,255,255)")  # fmt: skip
    pixels.add_argument("--normalize", default=d["normalize"], choices=contract.NORMALIZATIONS,
        help="zscore (per channel, of the train originals), unit 0..1, symmetric -1..1, imagenet, none 0..255 "
        "(default: zscore)")  # fmt: skip
    pixels.add_argument("--encoding", default=d["encoding"], choices=contract.ENCODINGS,
        help="of the pixels in a record (default: float16)")  # fmt: skip
    pixels.add_argument("--jpeg-quality", type=int, default=d["jpeg_quality"], help="(default: 95)")
    classes = p.add_argument_group("splits and balance")
    classes.add_argument("--splits", type=_shares, default="train=0.8,validation=0.1,test=0.1", metavar="NAME=SHARE,…",
        help="stratified by class; equal images and equal groups stay together; given splits are kept")  # fmt: skip
    classes.add_argument("--duplicates", default=d["duplicates"], choices=DUPLICATES,
        help="images of equal content: keep them together in one split, drop all but the first (and all of those under "
        "more than one label), or fail (default: keep)")  # fmt: skip
    classes.add_argument("--balance", type=_balance, default="none", metavar="MODE",
        help="train only: none, uniform, uniform=N, sqrt, temperature=T, counts=CLASS:N,… (default: none)")  # fmt: skip
    classes.add_argument("--max-copies", type=int, default=d["max_copies"], metavar="N",
        help="records an image at most, the original included (default: 10)")  # fmt: skip
    classes.add_argument("--augment", type=_augment, default="default", metavar="LIST",
        help="what copies undergo: default, none (copies are plain duplicates, to compare with), or a list of "
        + ", ".join(f"{name}={value:g}" for name, value in AUGMENT_DEFAULTS.items()))  # fmt: skip
    run = p.add_argument_group("shards and run")
    run.add_argument("--shards", type=int, default=d["shards"], metavar="N", help="a split (default: by --shard-size)")
    run.add_argument("--shard-size", type=_bytes, default="128M", metavar="SIZE", help="at most, about (default: 128M)")
    run.add_argument("--seed", type=int, default=d["seed"], help="of splits, order and augmentation (default: 0)")
    run.add_argument(
        "--workers", type=int, default=d["workers"], help="decoding processes, on each machine (default: one a core)"
    )
    run.add_argument("--runner", default="DirectRunner",
        help="DirectRunner (in this process, the default), FlinkRunner, SparkRunner, PrismRunner, DataflowRunner or "
        "another of Beam's; see docs/engines")  # fmt: skip


def prepare_config(args: argparse.Namespace) -> PrepareConfig:
    """Returns the checked configuration of parsed `prepare` arguments."""
    values = {f.name: getattr(args, f.name) for f in dataclasses.fields(PrepareConfig) if hasattr(args, f.name)}
    mode, extra = values.pop("balance")
    return PrepareConfig(**values, balance=mode, **extra)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"should be HxW, such as 128x128. Received: {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _color(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != 3 or not all(p.strip().isdecimal() for p in parts):
        raise argparse.ArgumentTypeError(f"should be R,G,B, each 0..255. Received: {text!r}")
    return tuple(int(p) for p in parts)


def _pairs(text: str, separator: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, found, value = part.rpartition(separator)
        if not found or not name.strip() or name.strip() in pairs:
            raise argparse.ArgumentTypeError(f"should be NAME{separator}VALUE,… with names once. Received: {text!r}")
        pairs[name.strip()] = value.strip()
    return pairs


def _number(text: str, kind: type[float] | type[int]) -> float:
    try:
        return kind(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"should be a number. Received: {text!r}") from e


def _shares(text: str) -> dict[str, float]:
    return {name: _number(value, float) for name, value in _pairs(text, "=").items()}


def _balance(text: str) -> tuple[str, dict[str, object]]:
    mode, _, value = text.partition("=")
    if mode == "counts" and value:
        return mode, {"counts": {k: int(_number(v, int)) for k, v in _pairs(value, ":").items()}}
    if mode == "temperature" and value:
        return mode, {"temperature": _number(value, float)}
    if mode == "uniform":
        return mode, {"target": int(_number(value, int)) if value else 0}
    if mode in ("none", "sqrt") and not value:
        return mode, {}
    raise argparse.ArgumentTypeError(
        f"should be none, uniform, uniform=N, sqrt, temperature=T or counts=CLASS:N,…. Received: {text!r}"
    )


def _augment(text: str) -> dict[str, float]:
    if text == "default":
        return dict(AUGMENT_DEFAULTS)
    if text == "none":
        return {}
    strengths: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() not in AUGMENT_DEFAULTS or name.strip() in strengths:
            raise argparse.ArgumentTypeError(f"knows {', '.join(AUGMENT_DEFAULTS)}, each once. Received: {name!r}")
        default = AUGMENT_DEFAULTS[name.strip()] or 0.1
        strengths[name.strip()] = _number(value, float) if value else default
    return strengths


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kKMG]?)(?:i?B)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"should be a size such as 64M. Received: {text!r}")
    return int(match[1]) << {"": 0, "k": 10, "K": 10, "M": 20, "G": 30}[match[2]]


def parse(argv: Sequence[str], program: str = PROGRAM) -> tuple[argparse.Namespace, list[str]]:
    """Parses the command line; exits with 2 on a mistake, as argparse does.

    Returns:
      (arguments, the flags that are left for Beam).
    """
    parser = build_parser(program)
    args, rest = parser.parse_known_args(list(argv))
    if rest and args.command != "prepare":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args, rest


__all__ = ["ConfigError", "build_parser", "parse", "prepare_config"]
