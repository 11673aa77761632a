"""The report: one self-contained HTML page that shows what a dataset holds and how it came to be.

The page loads nothing: styles are inline, pictures are data URIs, charts are SVG and CSS, and a content security
policy forbids scripts and the network. Names of files and classes come from strangers: the template escapes all of
them, and characters that could turn the text around or break the file are shown as escapes.

Here numbers become shapes (pure functions, tested); `report.html.j2` arranges them.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from pipelines.contract import Contract
from pipelines.summary import ClassCounts, Rejected, Summary, Thumbnail

MOST_CLASSES = 24  # rows of a split's class table; beyond it, the largest and the smallest are shown
MOST_PICTURES = 120  # thumbnails on the page; each is some 10 KB
MOST_ROWS = 40  # of rejects, duplicates and shards
BARS = 40  # of a size histogram
LEVELS = 64  # steps of a pixel histogram
CHANNELS = ("Red", "Green", "Blue")
# Lone surrogates (undecodable file names), controls, and the marks that reverse the direction of text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """One class in one split; widths in percent of the split's longest bar. `label` is None for a row of the rest."""

    label: str | None
    classes: int  # that the row stands for: 1, or as many as the rest has
    counts: ClassCounts
    natural_width: float
    originals_width: float
    copies_width: float


@dataclasses.dataclass(frozen=True)
class Bin:
    """One bar of a histogram: `name` says what it counts, `height` is in percent of the tallest."""

    name: str
    count: int
    height: float


@dataclasses.dataclass(frozen=True)
class Channel:
    """One colour channel: SVG paths in a box of 256 x 100, and what normalization makes of it."""

    name: str
    paths: tuple[tuple[str, str], ...]  # (split, path), train first
    black: float  # share of train's pixels at 0 and at 255
    white: float
    ticks: tuple[tuple[int, float], ...]  # (gray level, normalized value)
    mean: float
    std: float
    scale: float
    offset: float


@dataclasses.dataclass(frozen=True)
class Strip:
    """The pictures made of one source: what is stored of it, in order of the copy number, 0 being the original."""

    split: str
    label: str
    uri: str
    pictures: tuple[Thumbnail, ...]


def render(contract: Contract, summary: Summary) -> str:
    """The page as a string that encodes to UTF-8. Nothing in it is executed or fetched."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=printable,
    )
    environment.filters.update(n=number, size=byte_size, g=general, tail=tail)
    splits = {name: summary.classes.get(name, {}) for name in contract.splits}
    return environment.get_template("report.html.j2").render(
        contract=contract,
        summary=summary,
        sentence=sentence(contract, summary),
        headline=headline(contract, summary),
        pictures=strips(summary.thumbnails),
        pictures_left_out=max(0, len(summary.thumbnails) - MOST_PICTURES),
        pixelated=max(contract.image_shape[:2]) <= 96,
        class_rows={name: class_rows(contract.labels, counts) for name, counts in splits.items()},
        skew={name: (skew(counts, "natural"), skew(counts, "stored")) for name, counts in splits.items()},
        totals={name: total(counts.values()) for name, counts in splits.items()},
        widths=histogram(summary.widths, 16, "px"),
        heights=histogram(summary.heights, 16, "px"),
        file_sizes=size_bins(summary.file_bytes),
        channels=channels(contract, summary.pixel_histogram),
        rejects=summary.rejects[:MOST_ROWS],
        rejects_by_stage=stages(summary.rejects),
        duplicates=sorted(summary.duplicates, key=lambda d: not d.conflicting)[:MOST_ROWS],
        shard_bytes={name: sum(s.bytes for s in split.shards) for name, split in contract.splits.items()},
        settings=flatten(summary.settings),
        engine=flatten(summary.engine),
        most_rows=MOST_ROWS,
    )


def printable(value: Any) -> Any:
    """Text without characters that reorder or break it: they become \\u escapes. Markup and numbers pass."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m.group()):04x}", value)


def number(value: int) -> str:
    """1234567 -> 1,234,567."""
    return f"{value:,}"


def general(value: float) -> str:
    """A number in four digits, with a true minus sign: -1.98765 -> −1.988."""
    return f"{value:.4g}".replace("-", "−")


def byte_size(value: float) -> str:
    """Bytes in the largest binary unit that leaves at least 1: 1536 -> 1.5 KiB."""
    if value < 1024:
        return f"{value:.0f} B"
    power = min(int(math.log(value, 1024)), 5)
    return f"{value / 1024**power:.3g} {('KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power - 1]}"


def tail(uri: str, length: int = 48) -> str:
    """The end of a path, which tells it from its neighbours: at most `length` characters, cut at the front."""
    return uri if len(uri) <= length else "…" + uri[1 - length :]


def sentence(contract: Contract, summary: Summary) -> str:
    """What the dataset is, in one sentence."""
    height, width = contract.image_shape[:2]
    originals = sum(c.stored - c.copies for labels in summary.classes.values() for c in labels.values())
    copies = summary.written - originals
    low, high = contract.value_range
    text = (
        f"{number(originals)} images in {plural(len(contract.labels), 'class', 'classes')}, resized to "
        f"{width} × {height} pixels and stored as {contract.encoding} in {plural(len(contract.splits), 'split')}; "
        f"a model sees RGB values from {general(low)} to {general(high)} ({contract.normalization.mode})"
    )
    return text + (f", and {plural(copies, 'augmented copy', 'augmented copies')} even out the classes." * bool(copies) or ".")


def plural(count: int, one: str, many: str = "") -> str:
    """1 -> "1 split", 3 -> "3 splits"."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def headline(contract: Contract, summary: Summary) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the numbers that come first."""
    copies = sum(c.copies for labels in summary.classes.values() for c in labels.values())
    shards = [shard for split in contract.splits.values() for shard in split.shards]
    rejected = sum(summary.rejected.values())
    share = f"{100 * rejected / summary.read:.2g} % of what was read" if rejected and summary.read else ""
    conflicts = f"{number(summary.conflicting_groups)} under different labels" if summary.conflicting_groups else ""
    return [
        ("Read", number(summary.read), "input files"),
        ("Written", number(summary.written), f"{number(copies)} of them copies" if copies else "records"),
        ("Rejected", number(rejected), share or "nothing was dropped"),
        ("Duplicates", number(summary.duplicate_groups), conflicts or "groups of equal files"),
        ("Classes", number(len(contract.labels)), ""),
        ("Shards", number(len(shards)), plural(len(contract.splits), "split")),
        ("On disk", byte_size(sum(shard.bytes for shard in shards)), ""),
    ]


def strips(thumbnails: Sequence[Thumbnail]) -> dict[str, dict[str, list[Strip]]]:
    """split -> label -> strips, at most MOST_PICTURES pictures in all, every class getting its turn."""
    turns: dict[tuple[str, str], int] = {}
    order = []
    for index, thumbnail in enumerate(thumbnails):
        turn = turns[thumbnail.split, thumbnail.label] = turns.get((thumbnail.split, thumbnail.label), -1) + 1
        order.append((turn, index))
    kept = [thumbnails[index] for index in sorted(index for _, index in sorted(order)[:MOST_PICTURES])]
    groups: dict[tuple[str, str, str], list[Thumbnail]] = {}
    for t in kept:
        groups.setdefault((t.split, t.label, t.uri), []).append(t)
    result: dict[str, dict[str, list[Strip]]] = {}
    for (split, label, uri), members in groups.items():
        strip = Strip(split, label, uri, tuple(sorted(members, key=lambda t: t.copy)))
        result.setdefault(split, {}).setdefault(label, []).append(strip)
    return result


def total(counts: Iterable[ClassCounts]) -> ClassCounts:
    """The sum over classes."""
    rows = [dataclasses.astuple(c) for c in counts]
    return ClassCounts(*(sum(column) for column in zip(*rows, strict=True)))


def skew(counts: Mapping[str, ClassCounts], kind: str) -> float | None:
    """Largest class over smallest, of the classes that occur; None with fewer than two."""
    values = [getattr(c, kind) for c in counts.values() if getattr(c, kind)]
    return max(values) / min(values) if len(values) > 1 else None


def class_rows(labels: Sequence[str], counts: Mapping[str, ClassCounts]) -> list[ClassRow]:
    """Classes by natural count, largest first; of more than MOST_CLASSES, the top and the tail with the rest between."""
    pairs = [(label, counts.get(label, ClassCounts())) for label in labels]
    pairs.sort(key=lambda pair: -pair[1].natural)  # stable: equal counts stay in order of label id
    longest = max([1, *(max(c.natural, c.stored) for _, c in pairs)])

    def row(label: str | None, classes: int, c: ClassCounts, shown: bool = True) -> ClassRow:
        widths = (100 * n / longest if shown else 0.0 for n in (c.natural, c.stored - c.copies, c.copies))
        return ClassRow(label, classes, c, *widths)

    if len(pairs) <= MOST_CLASSES:
        return [row(label, 1, c) for label, c in pairs]
    half = MOST_CLASSES // 2
    between = [c for _, c in pairs[half:-half]]
    rest = row(None, len(between), total(between), shown=False)
    return [*(row(n, 1, c) for n, c in pairs[:half]), rest, *(row(n, 1, c) for n, c in pairs[-half:])]


def histogram(counts: Mapping[int, int], step: int, unit: str) -> list[Bin]:
    """Bars of equal width for counts by lower bound; what lies far beyond the bulk shares one last bar.

    Without the last bar, one panorama among phone pictures would press all others into a single bar.
    """
    if not counts:
        return []
    low, high = min(counts), max(counts)
    ordered, seen, bulk = sorted(counts), 0, sum(counts.values()) * 0.99
    for edge in ordered:
        seen += counts[edge]
        if seen >= bulk:
            break
    top = edge if high - low > max(BARS * step, 2 * (edge - low + step)) else high
    width = step * max(1, math.ceil((top - low + step) / step / BARS))
    totals = [0] * ((top - low) // width + 1)
    for value, count in counts.items():
        if value <= top:
            totals[(value - low) // width] += count
    bins = [(f"{low + i * width} to {low + (i + 1) * width - 1} {unit}", n) for i, n in enumerate(totals)]
    if top < high:
        bins.append((f"more, up to {high + step - 1} {unit}", sum(n for v, n in counts.items() if v > top)))
    return _scaled(bins)


def size_bins(counts: Mapping[int, int]) -> list[Bin]:
    """Bars of file sizes, one a power of two from the least to the greatest that occurs."""
    if not counts:
        return []
    powers = range(max(0, min(counts)).bit_length(), max(counts).bit_length() + 1)
    edges = [1 << (p - 1) if p else 0 for p in powers]
    return _scaled([(f"{byte_size(e)} to {byte_size(max(1, 2 * e))}", counts.get(e, 0)) for e in edges])


def _scaled(bins: Sequence[tuple[str, int]]) -> list[Bin]:
    tallest = max([1, *(count for _, count in bins)])
    return [Bin(name, count, 100 * count / tallest) for name, count in bins]


def channels(contract: Contract, histograms: Mapping[str, Sequence[Sequence[int]]]) -> list[Channel]:
    """The three channels, each with one path a split that has pixels, as shares so that splits compare."""
    n = contract.normalization
    ordered = sorted(histograms, key=lambda split: (split != "train", list(contract.splits).index(split) if split in contract.splits else 99))
    result = []
    for c, name in enumerate(CHANNELS):
        shares = {s: _shares(histograms[s][c]) for s in ordered if sum(histograms[s][c])}
        # The ends are where clipped pixels pile up; they are told in words and must not flatten the rest.
        inner = [v for levels in shares.values() for v in levels[1:-1]]
        tallest = max(inner, default=0) or 1.0
        first = histograms[ordered[0]][c] if ordered else [0]
        pixels = sum(first) or 1
        ticks = tuple((level, level * n.scale[c] + n.offset[c]) for level in (0, 64, 128, 192, 255))
        paths = tuple((s, _steps(levels, tallest)) for s, levels in shares.items())
        result.append(
            Channel(name, paths, first[0] / pixels, first[-1] / pixels, ticks, n.mean[c], n.std[c], n.scale[c], n.offset[c])
        )
    return result


def _shares(levels: Sequence[int]) -> list[float]:
    width = max(1, len(levels) // LEVELS)
    return [sum(levels[i : i + width]) / sum(levels) for i in range(0, len(levels), width)]


def _steps(shares: Sequence[float], tallest: float) -> str:
    """An SVG path of steps over a box of 256 x 100, closed along the bottom."""
    width = 256 / len(shares)
    tops = [100 - min(1.0, share / tallest) * 96 for share in shares]
    steps = "".join(f"V{y:.1f}H{(i + 1) * width:.0f}" for i, y in enumerate(tops))
    return f"M0 100{steps}V100Z"


def stages(rejects: Iterable[Rejected]) -> dict[str, str]:
    """reason -> the stages that gave it, of the rejects at hand."""
    found: dict[str, set[str]] = {}
    for reject in rejects:
        found.setdefault(reject.reason, set()).add(reject.stage)
    return {reason: ", ".join(sorted(names)) for reason, names in found.items()}


def flatten(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings as (name, text): mappings as "a=1, b=2", sequences as "a, b"; sorted by name."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{k}={text(v)}" for k, v in value.items()) or "none"
        if isinstance(value, (list, tuple)):
            return ", ".join(text(v) for v in value) or "none"
        return f"{value:.6g}" if isinstance(value, float) else str(value) if value != "" else "not set"

    return [(name, text(value)) for name, value in sorted(values.items())]
