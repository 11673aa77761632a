"""Looks through requests for Dataflow as a worker would: with the sent package, and nothing else of the project.

Run as: dataflow_check.py FORBIDDEN... < paths of serialized pipelines, a line each. Prints JSON: for each pipeline the
number of pickles in it and what is wrong with them. FORBIDDEN are strings that no request may hold.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import pathlib
import pickletools
import re
import sys
import zlib
from collections.abc import Iterator, Sequence

# Beam's pickles: base64 of bz2 ("BZh9") or of zlib at its highest level (0x78da). What follows in the message may look
# like more of it: decompressors say where their data ends.
_PICKLES = re.compile(rb"(?:QlpoO|eNo|eNp|eNq|eNr)[A-Za-z0-9+/]{16,}={0,2}")


def pickles(message: bytes) -> Iterator[bytes]:
    """Every pickle in a serialized pipeline, at any depth: each is printable text in it."""
    for found in _PICKLES.finditer(message):
        text = found[0].rstrip(b"=")
        for end in range(len(text), len(text) - 4, -1):  # up to three characters may be the message's own
            try:
                packed = base64.b64decode(text[:end] + b"=" * (-end % 4))
                unpacker = bz2.BZ2Decompressor() if packed.startswith(b"BZh") else zlib.decompressobj()
                plain = unpacker.decompress(packed)
            except (binascii.Error, OSError, zlib.error):
                continue
            if unpacker.eof and plain.startswith(b"\x80"):
                yield from (plain, *nested(plain))
                break


def nested(plain: bytes) -> Iterator[bytes]:
    """The pickles in a pickle: Beam packs functions twice over."""
    for _, argument, _ in pickletools.genops(plain):
        data = argument.encode("latin-1", "ignore") if isinstance(argument, str) else argument
        if isinstance(data, bytes | bytearray) and _PICKLES.search(data):
            yield from pickles(bytes(data))


def problems(plain: bytes, forbidden: Sequence[bytes]) -> Iterator[str]:
    """What is wrong with a pickle: it names the launching program, or a place on its machine, or cannot be loaded."""
    yield from in_text("a pickle", plain, forbidden)
    from apache_beam.internal import cloudpickle_pickler

    try:
        cloudpickle_pickler._loads(plain)
    except Exception as e:
        yield f"a pickle cannot be loaded: {type(e).__name__}: {e}"


def in_text(where: str, data: bytes, forbidden: Sequence[bytes]) -> Iterator[str]:
    """The forbidden strings in some data."""
    for text in (b"__main__", *forbidden):
        if text in data:
            around = data[max(0, data.index(text) - 40) : data.index(text) + 80]
            yield f"{where} holds {text.decode()!r}: {around!r}"


def main() -> None:
    texts = [text.encode() for text in sys.argv[1:]]
    from pipelines.job import stages

    found = {}
    for line in sys.stdin.read().splitlines():
        message = pathlib.Path(line).read_bytes()
        plain = list(pickles(message))
        wrong = [*in_text("the pipeline", message, texts), *(p for one in plain for p in problems(one, texts))]
        found[line] = {"pickles": len(plain), "problems": wrong}
    json.dump({"code": stages.__file__, "pipelines": found}, sys.stdout)


if __name__ == "__main__":
    main()
