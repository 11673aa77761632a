"""Declares the options of the form of the stored images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipelines import contract
from pipelines.contract.contract import BANDS, SHORTER
from pipelines.core.elements import MAX_CHANNELS
from pipelines.core.errors import ConfigError
from pipelines.images.image_spec import ImageSpec
from pipelines.images.source_policy import (
    COLOR_PROFILES,
    DATA,
    TRUNCATED,
    SourcePolicy,
    check_bands,
    check_bit_depth,
    value_range,
)
from pipelines.options import option_syntax
from pipelines.options.config_fields import Range, Syntax, check_range, option

QUALITIES = ("exact", "fast")
_PIXELS = "pixels"
_BIT_DEPTH = Syntax(check_bit_depth, str, "N|LOW..HIGH|data")


def _parse_resize(text: str) -> str:
    mode, equals, side = text.partition("=")
    if mode not in contract.RESIZE_MODES or (equals and (mode != SHORTER or not side.isdecimal())):
        raise ValueError(
            f"should be stretch, crop, pad, none or {SHORTER}=N, such as {SHORTER}=256. Received: {text!r}."
        )
    return text


_RESIZE = Syntax(_parse_resize, str, f"stretch|crop|pad|none|{SHORTER}=N")


@dataclasses.dataclass(frozen=True)
class PixelOptions:
    """Holds the options of the form of every stored image."""

    size: tuple[int, int] = option(
        (128, 128),
        "the height and the width of the stored images in pixels; one number makes them square",
        syntax=option_syntax.SIZE, group=_PIXELS,
    )  # fmt: skip
    resize: str = option(
        "stretch",
        "how an image is brought to the size: stretch changes its aspect, crop cuts out the centre, pad adds the "
        "background, none cuts or pads around the centre without resizing, for comparison; shorter=N keeps the aspect "
        "and stores the whole image with N pixels on its shorter side, for --encoding jpeg",
        syntax=_RESIZE, group=_PIXELS,
    )  # fmt: skip
    filter: str = option(
        "area",
        "the filter for resizing, which is antialiased: area is the exact average over each target pixel, bilinear a "
        "weighted average",
        choices=contract.FILTERS, group=_PIXELS,
    )  # fmt: skip
    quality: str = option(
        "exact",
        "how JPEGs are decoded: exact decodes all pixels, fast shrinks JPEGs of at least twice the size by 2, 4 or 8 "
        "while they are decoded, which changes values by one to two gray levels on average",
        choices=QUALITIES, group=_PIXELS,
    )  # fmt: skip
    background: tuple[int, int, int] = option(
        (255, 255, 255), "the colour behind transparent pixels and around padding, each number 0 to 255",
        syntax=option_syntax.COLOR, group=_PIXELS,
    )  # fmt: skip
    color_profile: str = option(
        "srgb",
        "what is done with images that have the colour profile (ICC) of another space than sRGB, such as Display P3, "
        "Adobe RGB or CMYK: srgb converts them to sRGB, ignore takes their numbers as they are",
        choices=COLOR_PROFILES, group=_PIXELS,
    )  # fmt: skip
    bit_depth: str = option(
        "",
        "the values of images with more than 8 bits a channel that become black and white: a number of bits such as 12 "
        "(0 to 4095), a range such as -1024..3071, or data for the least and the greatest value of all such images; "
        "values beyond are clipped",
        syntax=_BIT_DEPTH, unset="16 bits, and a warning where few levels remain", group=_PIXELS,
    )  # fmt: skip
    truncated: str = option(
        "reject",
        "what is done with JPEGs that are cut off, as by a download that broke: reject them, or fill the part that is "
        "missing with gray or with what came before",
        choices=TRUNCATED, group=_PIXELS,
    )  # fmt: skip
    channels: int = option(
        3,
        "the channels of the stored images: 3 for red, green and blue, or 1 for gray, which takes a third of the "
        "bytes; gray images keep their values, and of other images the luma is taken",
        metavar="3|1", limits=Range(1, MAX_CHANNELS), unset="3, or one for each of --bands", group=_PIXELS,
    )  # fmt: skip
    bands: tuple[int, ...] = option(
        (),
        "the bands of TIFF and PNG files that become the channels, by number from 1 and in this order, such as 4,3,2;"
        " for satellites and other cameras of many bands; files of other formats are rejected",
        syntax=option_syntax.NUMBERS, unset="pictures are read as they are meant", group=_PIXELS,
    )  # fmt: skip
    normalize: str = option(
        "zscore",
        "how pixel values are normalized: zscore to mean 0 and deviation 1 per channel over the originals of train, "
        "unit to 0..1, symmetric to -1..1, imagenet by ImageNet's mean and deviation, none leaves 0..255",
        choices=contract.NORMALIZATIONS, group=_PIXELS,
    )  # fmt: skip
    encoding: str = option(
        "float16", "how a record stores its pixels: as numbers of this type, or as a JPEG or PNG",
        choices=contract.ENCODINGS, group=_PIXELS,
    )  # fmt: skip
    jpeg_quality: int = option(
        95, "the quality of the images that --encoding jpeg stores, 1 to 100", limits=Range(1, 100), group=_PIXELS
    )

    @property
    def image_spec(self) -> ImageSpec:
        """Returns the form of every image."""
        return ImageSpec(
            *self.size, self.resize, self.filter, self.background, self.quality, self.source_policy, self.image_channels
        )

    @property
    def image_channels(self) -> int:
        """Returns the number of channels of the stored images."""
        return len(self.bands) or self.channels

    @property
    def channel_order(self) -> str:
        """Returns what the channels are, as the contract says it."""
        return BANDS if self.bands else contract.CHANNEL_ORDERS[self.channels]

    @property
    def takes_range_of_all(self) -> bool:
        """Tells whether the range of values is found out from all images."""
        return self.bit_depth == DATA

    @property
    def source_policy(self) -> SourcePolicy:
        """Returns how the pixels of a file are understood.

        With --bit-depth data the range is not known yet.
        """
        ends = None if self.takes_range_of_all else value_range(self.bit_depth)
        return SourcePolicy(self.color_profile, ends, self.truncated, self.bands)


def check(config: PixelOptions) -> None:
    """Raises ConfigError if a value is not allowed, or two do not go together."""
    for side in config.size:
        check_range("--size", side, Range(1, 8192))
    if config.resize not in contract.RESIZE_MODES:
        modes = ", ".join(contract.RESIZE_MODES)
        raise ConfigError(f"--resize should be one of {modes}. Received: {config.resize!r}.")
    if config.resize == SHORTER:
        _check_shorter(config)
    for value in config.background:
        check_range("--background", value, Range(0, 255))
    try:
        check_bit_depth(config.bit_depth)
    except ValueError as e:
        raise ConfigError(f"--bit-depth {e}") from e
    try:
        check_bands(config.bands)
    except ValueError as e:
        raise ConfigError(f"--bands {e}") from e
    if config.bands and config.channels not in (3, len(config.bands)):
        raise ConfigError(
            f"--bands names {len(config.bands)} bands, and --channels says {config.channels}. Leave out --channels."
        )
    if not config.bands and config.channels not in contract.CHANNEL_ORDERS:
        raise ConfigError(
            f"--channels should be 3 for colours or 1 for gray. Received: {config.channels}. For other bands of TIFF "
            "files use --bands."
        )
    if config.channel_order != "RGB" and config.normalize == "imagenet":
        raise ConfigError(
            "--normalize imagenet has numbers for red, green and blue, and such images have other channels. Use "
            "zscore, unit or symmetric: a network with published weights gets the pixels that it was trained on "
            "anyway."
        )
    if config.bands and len(set(config.background)) > 1:
        raise ConfigError(
            f"--background should be gray with --bands, because bands are no colours: one number three times. "
            f"Received: {config.background}."
        )
    if config.encoding in ("jpeg", "png") and config.image_channels not in contract.CHANNEL_ORDERS:
        raise ConfigError(
            f"--encoding {config.encoding} holds 1 or 3 channels, and --bands names {config.image_channels}. Use "
            "uint8, float16 or float32."
        )


def _check_shorter(config: PixelOptions) -> None:
    """Checks the options of images that keep their aspect."""
    if config.size[0] != config.size[1]:
        raise ConfigError(
            f"--resize {SHORTER}=N has one number, that of the shorter side, and a model sees a square. Received: "
            f"--size {config.size[0]}x{config.size[1]}."
        )
    if config.encoding != "jpeg":
        raise ConfigError(
            f"--resize {SHORTER} stores images of unequal size, and only a JPEG says how large it is and is read in "
            f"parts. Received: --encoding {config.encoding}. Add --encoding jpeg."
        )


def with_stated_size(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given options with the size that --resize shorter=N states.

    Args:
      given: values by field name, of the command line and the --config file.

    Raises:
      ConfigError: --size states another size.
    """
    mode, equals, side = str(given.get("resize", "")).partition("=")
    if not equals:
        return dict(given)
    size = (int(side), int(side))
    if tuple(given.get("size", size)) != size:
        raise ConfigError(
            f"--resize {mode}={side} states the size of the images. Leave out --size, which is "
            f"{'x'.join(map(str, given['size']))}."
        )
    return {**given, "resize": mode, "size": size}
