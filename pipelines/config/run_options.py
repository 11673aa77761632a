"""Declares the options of shards, bounds of an image and workers."""

from __future__ import annotations

import dataclasses

from pipelines.config.input_options import FILES
from pipelines.options import option_syntax
from pipelines.options.config_fields import Range, option

_RUN = "shards and run"
_SIZES = Range(1, 1 << 50)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Holds the options of the shards, of the bounds of an image and of the workers."""

    shards: int = option(
        0, "the number of shards of each split", unset="chosen by --shard-size", limits=Range(0, 99_999), group=_RUN
    )
    shard_size: int = option(
        128 << 20, "the approximate largest size of a shard, in bytes or with K, M or G",
        syntax=option_syntax.BYTES, limits=_SIZES, group=_RUN,
    )  # fmt: skip
    seed: int = option(
        0, "the seed of the splits, the order of the records and the augmentation",
        limits=Range(-(1 << 63), (1 << 63) - 1), group=_RUN,
    )  # fmt: skip
    max_reject_rate: float = option(
        0.01, "fail and publish nothing if more than this fraction (0 to 1) of the inputs is bad",
        metavar="RATE", limits=Range(0, 1), group=FILES, decides=False,
    )  # fmt: skip
    max_pixels: int = option(
        64 << 20, "reject an image with more pixels (width times height) than this; K, M and G may follow the number",
        syntax=option_syntax.COUNT, limits=_SIZES, group=FILES,
    )  # fmt: skip
    max_frames: int = option(
        1000, "reject an animation or a TIFF with more frames than this; only the first frame is used",
        limits=_SIZES, group=FILES,
    )  # fmt: skip
    max_file_bytes: int = option(
        256 << 20, "reject a file of more bytes than this, without reading it; K, M and G may follow the number",
        syntax=option_syntax.BYTES, limits=_SIZES, group=FILES,
    )  # fmt: skip
    image_timeout: float = option(
        60.0, "reject an image whose reading or decoding takes more seconds than this",
        metavar="SECONDS", limits=Range(0.001, 86_400), group=FILES, decides=False,
    )  # fmt: skip
    image_memory: int = option(
        1 << 30,
        "reject an image whose decoding needs more memory than this, in bytes or with K, M or G; each worker may use "
        "this much; Linux only",
        syntax=option_syntax.BYTES, limits=Range(16 << 20, 1 << 50), group=FILES, decides=False,
    )  # fmt: skip
    workers: int = option(
        0, "the number of decoding processes on each machine", unset="one per core",
        limits=Range(0, 1024), group=_RUN, decides=False,
    )  # fmt: skip
    # Sources per class and split that the report shows.
    thumbnails: int = dataclasses.field(default=2, compare=False)
