"""ICC profiles made byte by byte (ICC.1:2010): RGB and gray ones by their curve, and a CMYK one with a table."""

from __future__ import annotations

import struct
from collections.abc import Sequence

# Colorants of the primaries, adapted to D50.
SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
P3_PRIMARIES = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_PRIMARIES = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
_D50 = (0.9642, 1.0, 0.8249)


def rgb(primaries: Sequence[Sequence[float]], gamma: float, name: str = "ours") -> bytes:
    """A profile of RGB pixels whose values are the linear ones to the power 1 / gamma."""
    tags = {f"{c}XYZ".encode(): _xyz(xyz) for c, xyz in zip("rgb", primaries, strict=True)}
    return _profile(b"RGB ", b"XYZ ", name, tags | {f"{c}TRC".encode(): _curve(gamma) for c in "rgb"})


def gray(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", "gray", {b"kTRC": _curve(gamma)})


def cmyk() -> bytes:
    """A profile of CMYK pixels with a table of its corners: Lab 100 without ink, 0 with all black.

    L* falls by 100 with black, by 20 with cyan, by 40 with magenta, by 10 with yellow; a* and b* stay 0.
    """
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    lightness = [max(0, 100 - 20 * c - 40 * m - 10 * y - 100 * k) for c, m, y, k in corners]
    table = b"".join(bytes([round(level * 2.55), 128, 128]) for level in lightness)
    line = bytes(range(256))
    matrix = b"".join(_s15(float(i == j)) for i in range(3) for j in range(3))
    a2b = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + line * 4 + table + line * 3
    return _profile(b"CMYK", b"Lab ", "ink", {b"A2B0": a2b}, b"prtr")


def _profile(space: bytes, connection: bytes, name: str, more: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    text = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + b"\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": _xyz(_D50), **more}
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for key, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += key + struct.pack(">II", place + len(body), len(content))
        body += padded
    data = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(data), b"none", 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_s15, _D50))
    return head.ljust(128, b"\0") + data


def _s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_s15, values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
