"""TIFFs of any number of bands, built byte by byte."""

from __future__ import annotations

import struct
import zlib

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(
    values: np.ndarray, *, planar: bool = False, packed: bool = False, differences: bool = False, order: str = "<",
    rows: int = 3, **tags: int,
) -> bytes:  # fmt: skip
    """A TIFF of (h, w, n) values: interleaved or in planes, in strips of some rows, deflated or not."""
    height, width, samples = values.shape
    stored = values.astype(values.dtype.newbyteorder(order))
    if differences:
        stored = values.copy()
        stored[:, 1:] -= values[:, :-1]
        stored = stored.astype(values.dtype.newbyteorder(order))
    planes = [stored[..., i] for i in range(samples)] if planar else [stored]
    strips = [plane[top : top + rows].tobytes() for plane in planes for top in range(0, height, rows)]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    places, at = [], 8
    for strip in strips:
        places.append(at)
        at += len(strip)
    found = {
        256: (3, [width]), 257: (4, [height]), 258: (3, [values.dtype.itemsize * 8] * samples),
        259: (3, [8 if packed else 1]), 262: (3, [1]), 273: (4, places), 277: (3, [samples]), 278: (3, [rows]),
        279: (4, [len(strip) for strip in strips]), 284: (3, [2 if planar else 1]), 317: (3, [2 if differences else 1]),
        339: (3, [FORMATS[values.dtype.kind]] * samples), **{int(t[1:]): (3, [v]) for t, v in tags.items()},
    }  # fmt: skip
    body = b"".join(strips)
    at += at % 2
    body += b"\0" * (at - 8 - len(body))
    entries, behind = b"", b""
    for tag, (kind, numbers) in sorted(found.items()):
        data = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(data) > 4:
            place = at + 2 + 12 * len(found) + 4 + len(behind)
            data, behind = struct.pack(order + "I", place), behind + data
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + body + struct.pack(order + "H", len(found)) + entries + b"\0" * 4 + behind
