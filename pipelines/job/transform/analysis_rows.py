"""Makes the rows that TensorFlow Transform analyzes.

There are few of them: one for each label, and one for each train shard with exact integer sums of its pixels. So the
result cannot depend on the order of additions. It needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from pipelines import contract, storage
from pipelines.core.elements import TRAIN_SPLIT
from pipelines.images import histogram
from pipelines.images.files import formats
from pipelines.images.image_spec import ImageSpec
from pipelines.job.results import accounting
from pipelines.job.transform import target_sums
from pipelines.plan.plan import shard_names
from pipelines.records import shard_writer
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks import regression
from pipelines.work_dir import Work

PIXELS = ("pixel_count", "pixel_sum", "pixel_square_sum")
# A 1x1 black PNG. The graph checks the image format even if only constants or sums are computed, so the rows of the
# analysis need an image, and this is the smallest one.
_ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)
REDUCE = {"target_least": min, "target_greatest": max, "target_bits": max}  # the numbers of other columns are added


class Totals(NamedTuple):
    """Holds all that the analysis finds in its rows.

    labels: in the order of their ids.
    columns: column -> numbers over all rows. They are sums, except for the range and the bits of targets.
    """

    labels: tuple[str, ...]
    columns: dict[str, list[Any]]


def one_pixel(spec: ImageSpec) -> bytes:
    """Returns the smallest image that the graph takes."""
    if not spec.source.bands:
        return _ONE_PIXEL
    return formats.as_png(Image.new("L", (1, spec.channels)))  # the bands of one pixel, one below another


def analysis_rows(_: None, dataset: str, spec: RecordSpec, work: Work, targets: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the rows to analyze.

    There is a row for each label with its rank, and a row for each train shard with the pixel sums of its originals.

    Args:
      dataset: the dataset's name.
      targets: the number of numbers that an image has, if it has no label.
    """
    plan, image = accounting.read_plan(work), one_pixel(spec.image)
    zero = {name: [0] * width for name, width in contract.analysis_columns(spec.image.channels).items()}
    for rank, label in enumerate(plan.labels):
        # TFT orders a vocabulary by weight. The first label has the largest weight, so ids keep the order of labels.
        yield {
            "image": image,
            "label": label.encode(),
            **zero,
            "label_rank": [len(plan.labels) - rank],
        }
    files = shard_names(plan, dataset)[TRAIN_SPLIT]
    first = plan.labels[0].encode() if plan.labels else b""
    parts = (_targets(account) for account in _accounts(files, work)) if targets else ()
    scale = target_sums.scale_of(parts, targets)
    for account in _accounts(files, work):
        levels = histogram.as_levels(account["levels"])
        sums = target_sums.columns(_targets(account), scale) if targets else {}
        yield {"image": image, "label": first, **zero, **histogram.moments(levels), **sums}


def totals(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Totals:
    """Returns what the analysis of these columns finds in the rows."""
    labels: dict[str, None] = {}
    found: dict[str, list[Any]] = {}
    for row in rows:
        if row["label_rank"] != [0]:
            labels[row["label"].decode()] = None
        for name in columns:
            more = row[name]
            reduce = REDUCE.get(name)
            if name not in found:
                found[name] = list(more)
            elif reduce is None:
                found[name] = [a + b for a, b in zip(found[name], more, strict=True)]
            else:
                found[name] = list(map(reduce, found[name], more))
    return Totals(tuple(labels), found)


def _accounts(files: Sequence[str], work: Work) -> Iterator[dict[str, Any]]:
    return storage.each(lambda file: shard_writer.read_account(file, work), files, work.root)


def _targets(account: Mapping[str, Any]) -> dict[tuple[float, ...], int]:
    """Returns numbers of originals of a shard -> how many have them."""
    copies = account["copies"]
    return {regression.parsed(text): n - copies.get(text, 0) for text, n in account["stored"].items()}
