"""Feeds damaged inputs to what reads strangers' bytes: nothing but its own errors may come of it.

    python benchmarks/fuzz.py --inputs 100000 --target all

Inputs are mutations of good ones: flipped and replaced bytes, cuts, repeats, splices of two, and for JSON other values
in any place. One that leads through lines of the program or of Pillow that no input led through before is changed
further (`guide.py`). The n-th input of a seed is always the same. With SHARDMILL_DATA set, its folder `odd` is mutated
too. An exception of another kind ends with status 1 and saves the input.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import os
import pathlib
import random
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import guide
import PIL
from PIL import Image

from pipelines import contract
from pipelines.contract import Contract, Normalization, Shard, Split, tf_example
from pipelines.core.errors import SourceError
from pipelines.images.files import formats, image_error, opening
from pipelines.inputs.rules import InputSpec
from pipelines.inputs.tables import manifest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_SEED_BYTES = 64 << 10  # larger files of `odd` are cut: headers come first
FURTHER = 0.5  # of the inputs are changes of such ones that led to new lines
INTERESTING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 1.5, 1e308, -1e308, 10**30, 10**400, float("nan"), float("inf"), "", "a", "\0", "\ud800",
    "../x", "x" * 300, "é", [], {}, [[]], {"": {}}, [0, 0, 0], [1, 2, "3"], {"train": 1},
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzzes the targets and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target (default: 100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=(*TARGETS, "all"), default="all")
    parser.add_argument("--save", default="build/fuzz", metavar="DIR", help="where inputs that raise are kept")
    args = parser.parse_args(argv)
    failed = 0
    for name in TARGETS if args.target == "all" else (args.target,):
        failed += run(name, args.inputs, args.seed, pathlib.Path(args.save))
    return 1 if failed else 0


def run(name: str, inputs: int, seed: int, save: pathlib.Path) -> int:
    """Fuzzes one target, tells what came of it, and returns the number of inputs that raised something else."""
    seeds, mutate, read, expected = TARGETS[name]
    good, found = seeds(), []
    lines = guide.Guide([ROOT / "pipelines", pathlib.Path(PIL.__file__).parent])
    accepted = refused = failed = 0
    slowest = 0.0
    started = time.perf_counter()
    for index in range(inputs):
        rng = random.Random(f"{seed} {name} {index}")
        data = mutate(rng, found if found and rng.random() < FURTHER else good)
        begun = time.perf_counter()
        try:
            with lines.watching():
                read(data)
            accepted += 1
        except expected:
            refused += 1
        except Exception:
            failed += 1
            save.mkdir(parents=True, exist_ok=True)
            path = save / f"{name}-{seed}-{index}.bin"
            path.write_bytes(data)
            print(f"{path}:\n{traceback.format_exc()}", file=sys.stderr)
        slowest = max(slowest, time.perf_counter() - begun)
        if lines.is_new() and len(data) <= MAX_SEED_BYTES:
            found.append(data)
    rate = inputs / (time.perf_counter() - started)
    print(
        f"{name}: {inputs:,} inputs from {len(good)} seeds and {len(found)} that led further, {accepted:,} accepted, "
        f"{refused:,} refused, {failed:,} raised something else; {len(lines.arcs):,} steps from line to line; "
        f"{rate:,.0f}/s, the slowest {1000 * slowest:.0f} ms",
        flush=True,
    )
    return failed


def mutate_bytes(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to eight changes, most of them near its beginning."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        end = len(data) if rng.random() < 0.3 else min(len(data), 512)
        at = rng.randrange(end + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice(INTERESTING)
        elif kind == 2:
            size, order = rng.choice((2, 4, 8)), rng.choice(("big", "little"))
            number = rng.choice((0, 1, 1 << 15, (1 << 31) - 1, (1 << 32) - 1, rng.getrandbits(32)))
            data[at : at + size] = number.to_bytes(8, order)[:size]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 5:
            data[at:at] = data[at : at + rng.randrange(1, 64)] * rng.choice((1, 2, 100))
        else:
            other = rng.choice(seeds)
            data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


def mutate_json(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Half of the time a JSON text with other values in it, else other bytes."""
    if rng.random() < 0.5:
        return mutate_bytes(rng, seeds)
    try:
        lines = [json.loads(line) for line in rng.choice(seeds).split(b"\0")]
    except ValueError:  # a change of a change: JSON no longer
        return mutate_bytes(rng, seeds)
    if not all(isinstance(line, (dict, list)) for line in lines):
        return mutate_bytes(rng, seeds)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _replace(rng, rng.choice(lines))
    text = "\0".join(json.dumps(line, ensure_ascii=rng.random() < 0.5) for line in lines)
    return text.encode("utf-8", "surrogatepass")


def _replace(rng: random.Random, value: Any) -> None:
    """Puts another value, or none, in some place of an object or a list."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.8:
            value = inner
            continue
        if rng.random() < 0.2:
            del value[key]
        elif rng.random() < 0.2 and isinstance(inner, (int, float)) and abs(inner) < 1e308:
            value[key] = inner * rng.choice((-1, 0, 2, 0.5, 1e300))
        else:
            value[key] = copy.deepcopy(rng.choice(VALUES))  # it may be changed in its turn
        return


def contract_seeds() -> list[bytes]:
    """A contract with everything in it, and one from before it named the other files."""
    counts = {"cat": 3, "dög": 2}
    shards = tuple(Shard(f"tiny-train.tfrecord-{i:05d}-of-00002", n, 100, f"{i}" * 64) for i, n in enumerate((3, 2)))
    made = Contract(
        name="tiny", image_shape=(8, 8, 3), encoding="float16", labels=("cat", "dög"),
        splits={"train": Split(counts, counts, {"cat": 1}, shards), "test": Split({}, {}, {}, ())},
        normalization=Normalization("zscore", (1.5,) * 3, (2.5,) * 3, (0.4,) * 3, (-0.6,) * 3),
        resize={"mode": "stretch"}, decode={"background": [255, 255, 255], "jpeg_quality": None},
        balance={"mode": "none", "counts": {}}, augmentation={"flip": 1.0}, seed=0, weighted=False,
        config_digest="a" * 64, source_digest="b" * 64, transform_digest="c" * 64, rejected={"empty": 1},
        versions={"python": "3.11"}, files={"ledger/x.jsonl": "d" * 64},
    )  # fmt: skip
    return [made.to_json().encode(), made.to_json(sealed=False).replace('"files"', '"other"').encode()]


def read_contract(data: bytes) -> None:
    """As `contract.load` reads a file; what is accepted has to make the round trip."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    made = contract.from_json(text)
    if contract.from_json(made.to_json()) != made:
        raise AssertionError("another contract after a round trip")


def manifest_seeds() -> list[bytes]:
    """The name of a format, a zero byte, and a manifest in it."""
    rows = [
        {"path": f"{c}/{i}.jpg", "label": c, "split": "train", "group": f"g{i}", "weight": i / 2}
        for c in ("cat", 'do"g', "grün") for i in range(3)
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    lines = "\n".join(json.dumps(row) for row in rows)
    import pyarrow
    import pyarrow.parquet

    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    return [
        *[b"m.csv\0" + text.getvalue().encode()] * 5, *[b"m.jsonl\0" + lines.encode()] * 5,
        b"m.parquet\0" + table.getvalue(),
    ]  # fmt: skip


def mutate_manifest(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """The format stays; of JSON lines, half of the time single values change."""
    name, _, data = rng.choice(seeds).partition(b"\0")
    if name == b"m.jsonl" and rng.random() < 0.5:
        rows = data.replace(b"\n", b"\0")
        return name + b"\0" + mutate_json(rng, [rows]).replace(b"\0", b"\n")
    return name + b"\0" + mutate_bytes(rng, [data])


def read_manifest(data: bytes) -> None:
    """Parses and reads every row; each is a source or a reject that JSON and UTF-8 can hold."""
    name, _, content = data.partition(b"\0")
    path = f"/nowhere/{name.decode()}"
    spec = InputSpec(path)
    rows = list(manifest.parse(content, spec).rows)
    items = list(manifest.read_items(rows, spec))
    if len(items) != len(rows):
        raise AssertionError(f"{len(rows)} rows became {len(items)} items")
    json.dumps(items, ensure_ascii=False, default=vars).encode("utf-8")


def header_seeds() -> list[bytes]:
    """Pictures of every format and mode that Pillow writes, and those of SHARDMILL_DATA/odd."""
    seeds = []
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        for kind in opening.FORMATS:
            out = io.BytesIO()
            try:
                frames = [Image.new(mode, (9, 7), i) for i in range(2)]
                more = {"save_all": True, "append_images": frames[1:]} if kind in ("GIF", "WEBP", "TIFF") else {}
                frames[0].save(out, kind, exif=exif, **more)
            except (OSError, ValueError, TypeError, KeyError):  # a mode that the format does not have
                continue
            seeds.append(out.getvalue())
    root = os.environ.get("SHARDMILL_DATA", "")
    odd = sorted(p for p in (pathlib.Path(root) / "odd").rglob("*") if p.is_file()) if root else []
    return [*seeds, *(path.read_bytes()[:MAX_SEED_BYTES] for path in odd)]


def read_header(data: bytes) -> None:
    """Tells format and size, as every input is asked first."""
    formats.read_header(data, 64 << 20)


def example_seeds() -> list[bytes]:
    """Records of ours, and one with every kind of list in both forms of protobuf's wire format."""
    number = tf_example.to_varint(300)
    lists = [bytes([10, 3]) + b"cat", bytes([10, 4]) + struct.pack("<f", 2.5), bytes([13]) + struct.pack("<f", 2.5),
             bytes([10, len(number)]) + number, bytes([8]) + number]  # fmt: skip
    record = b""
    for name, kind, listed in zip(b"abcde", (1, 2, 2, 3, 3), lists, strict=True):
        feature = bytes([tf_example.tag(kind), len(listed)]) + listed
        entry = bytes([10, 1, name, 18, len(feature)]) + feature
        record += bytes([10, len(entry)]) + entry
    return [tf_example.serialize(b"pixels" * 9, 3, 0.5, "cat/1.jpg"), bytes([10, len(record)]) + record]


def read_example(data: bytes) -> None:
    """Parses the features of a record of any program; each value of bytes is where the parser says."""
    for feature in tf_example.features(data).values():
        for value, at in zip(feature.values, feature.at, strict=False):
            if data[at : at + len(value)] != value:
                raise AssertionError(f"a value is not at byte {at}")


TARGETS: dict[str, tuple[Callable[[], list[bytes]], Callable[..., bytes], Callable[[bytes], None], type[Exception]]] = {
    "contract": (contract_seeds, mutate_json, read_contract, contract.ContractError),
    "manifest": (manifest_seeds, mutate_manifest, read_manifest, SourceError),
    "example": (example_seeds, mutate_bytes, read_example, tf_example.ExampleError),
    "header": (header_seeds, mutate_bytes, read_header, image_error.ImageError),
}

if __name__ == "__main__":
    sys.exit(main())
