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


def _add_prepare(commands: argparse._SubParsersAction[_Parser]) -> None:
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
    d = _DEFAULTS
    what = p.add_argument_group("input and output")
    what.add_argument("--input", required=True, metavar="PATH",
        help="the images: a folder of class folders or of split/class folders, a CSV, JSONL or Parquet manifest with "
        "the columns path, label and optionally split, group, weight, or a glob; local, gs:// or "
        "s3://")  # fmt: skip
    what.add_argument("--output", required=True, metavar="DIR",
        help="the folder of the dataset to make; local, gs:// or s3://")  # fmt: skip
    what.add_argument("--name", default=d["name"],
        help="the first part of the shards' file names, NAME-train.tfrecord-… (default: made from the name of the "
        "output folder)")  # fmt: skip
    what.add_argument("--layout", default=d["layout"], choices=("auto", "class", "split"),
        help="whether the top folders of the input are classes or splits; auto decides by their names "
        "(default: auto)")  # fmt: skip
    what.add_argument("--allow-outside", action="store_true",
        help="accept links and manifest paths that lead out of the input (default: reject such files)")  # fmt: skip
    what.add_argument("--max-reject-rate", type=float, default=d["max_reject_rate"], metavar="RATE",
        help="fail and publish nothing if more than this fraction (0 to 1) of the inputs is bad "
        "(default: 0.01)")  # fmt: skip
    what.add_argument("--max-pixels", type=int, default=d["max_pixels"],
        help="reject an image with more pixels (width times height) than this (default: 67108864, 64 Mi)")  # fmt: skip
    what.add_argument("--max-frames", type=int, default=d["max_frames"],
        help="reject an animation or a TIFF with more frames than this; only the first frame is used "
        "(default: 1000)")  # fmt: skip
    what.add_argument("--max-file-bytes", type=int, default=d["max_file_bytes"],
        help="reject a file of more bytes than this, without reading it (default: 268435456, 256 Mi)")  # fmt: skip
    what.add_argument("--image-timeout", type=float, default=d["image_timeout"], metavar="SECONDS",
        help="reject an image whose reading or decoding takes more seconds than this (default: 60)")  # fmt: skip
    what.add_argument("--image-memory", type=_bytes, default="1G", metavar="SIZE",
        help="reject an image whose decoding needs more memory than this, in bytes or with K, M or G; each worker may "
        "use this much; Linux only (default: 1G)")  # fmt: skip
    pixels = p.add_argument_group("pixels")
    pixels.add_argument("--size", type=_size, default="128x128", metavar="HxW",
        help="the height and the width of the stored images in pixels; one number makes them square "
        "(default: 128x128)")  # fmt: skip
    pixels.add_argument("--resize", default=d["resize"], choices=contract.RESIZE_MODES,
        help="how an image is brought to the size: stretch changes its aspect, crop cuts out the centre, pad adds the "
        "background, none cuts or pads around the centre without resizing, for comparison "
        "(default: stretch)")  # fmt: skip
    pixels.add_argument("--filter", default=d["filter"], choices=contract.FILTERS,
        help="the filter for resizing, which is antialiased: area is the exact average over each target pixel, "
        "bilinear a weighted average (default: area)")  # fmt: skip
    pixels.add_argument("--quality", default=d["quality"], choices=QUALITIES,
        help="how JPEGs are decoded: exact decodes all pixels, fast shrinks JPEGs of at least twice the size by 2, 4 "
        "or 8 while they are decoded, which changes values by one to two gray levels on average "
        "(default: exact)")  # fmt: skip
    pixels.add_argument("--background", type=_color, default="255,255,255", metavar="R,G,B",
        help="the colour behind transparent pixels and around padding, each number 0 to 255 (default: "
        "255,255,255)")  # fmt: skip
    pixels.add_argument("--normalize", default=d["normalize"], choices=contract.NORMALIZATIONS,
        help="how pixel values are normalized: zscore to mean 0 and deviation 1 per channel over the originals of "
        "train, unit to 0..1, symmetric to -1..1, imagenet by ImageNet's mean and deviation, none leaves 0..255 "
        "(default: zscore)")  # fmt: skip
    pixels.add_argument("--encoding", default=d["encoding"], choices=contract.ENCODINGS,
        help="how a record stores its pixels: as numbers of this type, or as a JPEG or PNG (default: "
        "float16)")  # fmt: skip
    pixels.add_argument("--jpeg-quality", type=int, default=d["jpeg_quality"],
        help="the quality of the images that --encoding jpeg stores, 1 to 100 (default: 95)")  # fmt: skip
    classes = p.add_argument_group("splits and balance")
    classes.add_argument("--splits", type=_shares, default="train=0.8,validation=0.1,test=0.1", metavar="NAME=SHARE,…",
        help="the splits and the fraction of each class that they get, 1 in total; equal images and images of one "
        "group stay in one split; splits that the input states are kept (default: "
        "train=0.8,validation=0.1,test=0.1)")  # fmt: skip
    classes.add_argument("--duplicates", default=d["duplicates"], choices=DUPLICATES,
        help="what is done with images of equal content: keep them together in one split, drop all but the first (or "
        "all, where their labels differ), or fail (default: keep)")  # fmt: skip
    classes.add_argument("--balance", type=_balance, default="none", metavar="MODE",
        help="how the classes of train are balanced by copying and leaving out images: none, uniform (each class gets "
        "as many records as the largest has) or uniform=N, sqrt (in proportion to the square root of the class's "
        "count), temperature=T (to its power 1/T), or counts=CLASS:N,… (default: none)")  # fmt: skip
    classes.add_argument("--max-copies", type=int, default=d["max_copies"], metavar="N",
        help="the most records that --balance makes of one image, including the original (default: 10)")  # fmt: skip
    classes.add_argument("--augment", type=_augment, default="default", metavar="LIST",
        help="how the copies that --balance makes are changed: default, none (copies are plain duplicates, for "
        "comparison), or a list NAME=STRENGTH,… that omits the other changes; rotate is in degrees, all others are "
        "fractions, and default is " + ", ".join(f"{name}={value:g}" for name, value in AUGMENT_DEFAULTS.items())
        + " (default: default)")  # fmt: skip
    run = p.add_argument_group("shards and run")
    run.add_argument("--shards", type=int, default=d["shards"], metavar="N",
        help="the number of shards of each split (default: chosen by --shard-size)")  # fmt: skip
    run.add_argument("--shard-size", type=_bytes, default="128M", metavar="SIZE",
        help="the approximate largest size of a shard, in bytes or with K, M or G (default: 128M)")  # fmt: skip
    run.add_argument("--seed", type=int, default=d["seed"],
        help="the seed of the splits, the order of the records and the augmentation (default: 0)")  # fmt: skip
    run.add_argument("--workers", type=int, default=d["workers"],
        help="the number of decoding processes on each machine (default: one per core)")  # fmt: skip
    run.add_argument("--runner", default="DirectRunner",
        help="the Beam runner: DirectRunner (in this process), FlinkRunner, SparkRunner, PrismRunner, DataflowRunner "
        "or another of Beam's; see docs/engines (default: DirectRunner)")  # fmt: skip


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
