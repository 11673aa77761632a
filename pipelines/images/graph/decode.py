"""Decodes images to 8-bit RGB or gray pixels of one size, by TensorFlow ops only.

This is the one definition of decoding and resizing. `to_pixels` makes the records, it is part of the TensorFlow
Transform graph that is stored with them, and it is exported with the model, so serving cannot drift from training.

TensorFlow's own decoders are exact for JPEG (with `INTEGER_ACCURATE`: equal to Pillow's), PNG and WebP. For much of BMP
and GIF they give wrong pixels without an error, and there are none for the other formats. Sources of all other formats,
and animated WebP, are therefore converted to PNG without loss by `formats.canonical` (Pillow) before they reach the
graph. The graph refuses their raw bytes with an error message and does not decode them differently. Images with the
colour profile of another space than sRGB are converted by `canonical`, too; the graph does not look for profiles.

Gray pixels are made of RGB pixels when these are upright and opaque, before they are resized.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.core.elements import Header
from pipelines.core.text import first_line
from pipelines.images.files import band_values, formats, image_error, opening
from pipelines.images.files.opening import WEBP_ANIMATION
from pipelines.images.graph import exif_graph
from pipelines.images.graph.resize import crop_to_aspect, filtered, resize, rounded
from pipelines.images.image_spec import LONGEST_SIDE, LUMA, ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import DEFAULT, SourcePolicy
from pipelines.workers import memory_limit

CUT_OFF = "The JPEG is cut off before its end. --truncated fill reads what is there."
_BAND = 1 << 18  # pixels that are composited at a time


def to_pixels(encoded: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Decodes JPEG, PNG or WebP bytes and resizes them to the size of `spec`.

    Args:
      encoded: a string scalar.

    Returns:
      uint8 (spec.height, spec.width, spec.channels); of images with sizes of their own (h, w, spec.channels).

    Raises:
      tf.errors.InvalidArgumentError: on other formats, animated WebP, or damaged data. With bands, only the gray PNG
        is read that `formats.canonical` makes of them.
    """
    head = _head(encoded)
    if spec.source.bands:
        return resize(_decode_stack(encoded, head, spec.channels), spec)
    is_jpeg = tf.logical_and(tf.equal(head[0], 0xFF), tf.equal(head[1], 0xD8))
    is_png = tf.reduce_all(tf.equal(head[:4], tf.constant(list(b"\x89PNG"), tf.uint8)))
    orientation = exif_graph.orientation(encoded, is_jpeg, is_png)
    pixels = tf.cond(
        is_jpeg,
        lambda: _decode_any_jpeg(encoded, orientation, spec),
        lambda: tf.cond(
            is_png,
            lambda: _decode_png(encoded, head, spec),
            lambda: _decode_webp(encoded, head, spec),
        ),
    )
    return resize(_in_channels(orient(pixels, orientation), spec), spec)


def decoder(header: Header, spec: ImageSpec) -> Callable[[tf.Tensor], np.ndarray]:
    """Returns a function that decodes images with this header as `to_pixels` does.

    It applies the same ops, but does not examine the header again in the graph. JPEG and plain PNG are decoded op by
    op: for these few large ops the dispatch of a traced function costs more than it saves.
    """
    if not header.in_graph:
        return _decoder("png", 1, False, spec)
    plain = not {"alpha", "16-bit"} & set(header.conversions)
    ratio = next(r for r in spec.ratios() if r == 1 or _shrinks_by(r, header.height, header.width, spec))
    stored = 1 if spec.channels == 1 and "gray" in header.conversions else 3
    return _decoder(header.format, header.orientation, plain, spec, ratio, stored)


def decoded(data: bytes, header: Header, spec: ImageSpec, limits: Limits) -> np.ndarray:
    """Decodes a file of any accepted format, in a worker process.

    Large pictures wait for their turn, see `memory_limit.turn`.

    Returns:
      uint8 (spec.height, spec.width, spec.channels); of images with sizes of their own (h, w, spec.channels).

    Raises:
      ImageError: the pixels cannot be decoded, or the resized image would be too long.
      MemoryError: they take more memory than this process may have.
    """
    if spec.is_uneven and (longer := spec.longer_side(header.height, header.width)) > LONGEST_SIDE:
        raise image_error.ImageError(
            "too-long",
            f"{header.width}x{header.height} pixels: with {spec.height} on the shorter side, the longer one would have "
            f"{longer}, and at most {LONGEST_SIDE} are stored.",
        )
    try:
        with memory_limit.turn(header.width * header.height, limits.image_timeout / 4):
            if spec.source.bands:
                pixels = band_values.band_pixels(data, limits.max_pixels, limits.max_frames, spec.source)
                return _finisher(spec)(tf.constant(pixels))
            if header.in_graph:
                return decoder(header, spec)(tf.constant(data))
            image = formats.decoded(data, limits.max_pixels, limits.max_frames, spec.source)
            if image.mode in ("L", "RGB"):  # a PNG of them would take most of the time
                return _finisher(spec)(tf.constant(_of_picture(image, spec.channels)))
            return decoder(header, spec)(tf.constant(formats.as_png(image)))
    except tf.errors.ResourceExhaustedError as e:
        raise MemoryError from e
    except tf.errors.OpError as e:
        why = CUT_OFF if opening.is_cut_off(data) else first_line(e, 200)
        raise image_error.ImageError("undecodable", why) from e


def extremes(data: bytes, header: Header, limits: Limits, policy: SourcePolicy = DEFAULT) -> tuple[float, float] | None:
    """Returns the least and the greatest value of an image with deep pixels.

    Alpha does not count. It is None for an image with 8 bits, and where the values cannot be told.

    Raises:
      ImageError: the pixels cannot be decoded.
      MemoryError: they take more memory than this process may have.
    """
    if "16-bit" not in header.conversions:
        return None
    with memory_limit.turn(header.width * header.height, limits.image_timeout / 4):
        if header.format != "png":
            return formats.extremes(data, limits.max_pixels, limits.max_frames, policy)
        try:
            values = tf.io.decode_png(data, dtype=tf.uint16).numpy()
        except tf.errors.ResourceExhaustedError as e:
            raise MemoryError from e
        except tf.errors.OpError as e:
            raise image_error.ImageError("undecodable", first_line(e, 200)) from e
    colors = values[..., : values.shape[-1] - (values.shape[-1] + 1) % 2]  # 2 and 4 channels end with alpha
    return float(colors.min()), float(colors.max())


def alpha_varies(data: bytes, header: Header, limits: Limits, policy: SourcePolicy = DEFAULT) -> bool:
    """Tells whether the alpha of an image varies as a photograph does.

    See `formats.alpha_varies`. It decodes images with alpha only.

    Raises:
      ImageError: the pixels cannot be decoded.
      MemoryError: they take more memory than this process may have.
    """
    if "alpha" not in header.conversions or header.format not in ("png", "tiff"):
        return False
    with memory_limit.turn(header.width * header.height, limits.image_timeout / 4):
        return formats.alpha_varies(data, limits.max_pixels, limits.max_frames, policy)


def warm_up() -> None:
    """Initializes TensorFlow in a worker process before the first image arrives.

    TensorFlow then has started its threads and found its kernels. A worker has one, since there is one for every core.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    encoded = tf.io.encode_jpeg(tf.zeros((8, 8, 3), tf.uint8))
    decoder(formats.read_header(encoded.numpy(), 64), ImageSpec(4, 4))(encoded)


@functools.lru_cache(maxsize=256)
def _decoder(
    format_: str, orientation: int, plain: bool, spec: ImageSpec, ratio: int = 1, stored: int = 3
) -> Callable[[tf.Tensor], np.ndarray]:
    """Returns the function of `decoder`.

    Args:
      stored: the channels to decode of JPEG and plain PNG. 1 is for gray files; it gives what 3 equal channels would.
    """
    read: Callable[[tf.Tensor], tf.Tensor] | None = None
    if format_ == "jpeg":
        read = functools.partial(_decode_jpeg, ratio=ratio, channels=stored)
    elif format_ == "png" and plain:
        read = functools.partial(tf.io.decode_png, channels=stored)
    if read is None:
        decode = _decode_png if format_ == "png" else _decode_webp
        traced = tf.function(
            lambda b: resize(_in_channels(orient(decode(b, _head(b), spec), orientation), spec), spec),
            input_signature=[tf.TensorSpec([], tf.string)],
            autograph=False,  # all control flow is written as ops; autograph would leave generated files behind
        )
        return lambda encoded: traced(encoded).numpy()
    finish = _finisher(spec)
    if stored == spec.channels:
        return lambda encoded: finish(orient(read(encoded), orientation))
    # Pillow has the arithmetic of `_gray` in one pass over the bytes.
    return lambda encoded: finish(
        orient(tf.constant(_of_picture(Image.fromarray(read(encoded).numpy()), spec.channels)), orientation)
    )


def _of_picture(image: Image.Image, channels: int) -> np.ndarray:
    """Returns the pixels of an L or RGB picture: uint8 (h, w, channels)."""
    mode = "L" if channels == 1 else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[..., None] if channels == 1 else pixels


@functools.lru_cache(maxsize=16)
def _finisher(spec: ImageSpec) -> Callable[[tf.Tensor], np.ndarray]:
    """Returns a function that resizes upright uint8 (h, w, C) as `resize` does."""
    if spec.resize not in ("stretch", "crop"):
        return lambda pixels: resize(pixels, spec).numpy()
    crop = crop_to_aspect if spec.resize == "crop" else lambda pixels, _: pixels
    # These tensors are made once: an op with a Python value among its arguments takes TensorFlow's slow path.
    first, size = tf.constant(0), tf.constant([spec.height, spec.width])

    def finish(pixels: tf.Tensor) -> np.ndarray:
        pixels = crop(pixels, spec)
        if spec.filter == "area":
            values = tf.raw_ops.ResizeArea(images=tf.expand_dims(pixels, first), size=size).numpy()[0]
        else:
            values = filtered(pixels, (spec.height, spec.width), spec.filter).numpy()
        # This equals `rounded`, at a third of the cost of dispatching its ops.
        whole: np.ndarray = np.rint(values).astype(np.uint8)
        return whole

    return finish


def encode_image(pixels: tf.Tensor, encoding: str, jpeg_quality: int) -> tf.Tensor:
    """Encodes uint8 (H, W, C) pixels as JPEG or PNG bytes.

    JPEG is 4:4:4, without chroma subsampling: at training sizes halved chroma is visible.
    """
    if encoding == "png":
        return tf.io.encode_png(pixels)
    return tf.io.encode_jpeg(pixels, quality=jpeg_quality, chroma_downsampling=False)


def orient(pixels: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """Applies an EXIF orientation 1..8 to pixels of shape (h, w, c).

    Afterwards row 0 is the visual top and column 0 is the visual left.
    """
    if isinstance(orientation, int):
        pixels = tf.transpose(pixels, (1, 0, 2)) if orientation >= 5 else pixels
        axes = [a for a, set_ in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))) if orientation in set_]
        return tf.reverse(pixels, axes) if axes else pixels

    def member(values: tuple[int, ...]) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, tf.constant(values)))

    def upright() -> tf.Tensor:
        x = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
        x = tf.cond(member((3, 4, 7, 8)), lambda: tf.reverse(x, [0]), lambda: x)
        return tf.cond(member((2, 3, 6, 7)), lambda: tf.reverse(x, [1]), lambda: x)

    return tf.cond(tf.equal(orientation, 1), lambda: pixels, upright)


def _decode_jpeg(encoded: tf.Tensor, ratio: int, channels: int = 3) -> tf.Tensor:
    # INTEGER_ACCURATE is the slow integer DCT: equal to Pillow's, no slower here, and the same on every machine.
    # acceptable_fraction is its default, written as a float: with an integer the op takes TensorFlow's slow path.
    return tf.io.decode_jpeg(
        encoded, channels=channels, dct_method="INTEGER_ACCURATE", ratio=ratio, acceptable_fraction=1.0
    )


def _decode_any_jpeg(encoded: tf.Tensor, orientation: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Decodes a JPEG with the ratio that its header allows, chosen in the graph."""
    ratios = spec.ratios()
    if len(ratios) == 1:
        return _decode_jpeg(encoded, ratios[0])
    stored = tf.io.extract_jpeg_shape(encoded)
    height, width = stored[0], stored[1]
    turned = orientation >= 5
    seen_height, seen_width = tf.where(turned, width, height), tf.where(turned, height, width)
    allowed = tf.stack([_shrinks_by(r, seen_height, seen_width, spec) for r in ratios[:-1]] + [tf.constant(True)])
    first = tf.argmax(tf.cast(allowed, tf.int32), output_type=tf.int32)
    return tf.switch_case(first, [functools.partial(_decode_jpeg, encoded, ratio) for ratio in ratios])


def _shrinks_by(ratio: int, height: int | tf.Tensor, width: int | tf.Tensor, spec: ImageSpec) -> bool | tf.Tensor:
    """Returns whether resizing an upright image divides its sides by `ratio` or more.

    With "pad" this has to hold for one side, else for both.
    """
    tall, wide = height >= ratio * spec.height, width >= ratio * spec.width
    return tall | wide if spec.resize == "pad" else tall & wide


def _head(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the first 32 bytes as uint8, filled up with zeros."""
    return tf.io.decode_raw(tf.strings.substr(tf.strings.join([encoded, b"\0" * 32]), 0, 32), tf.uint8)


def _decode_png(encoded: tf.Tensor, head: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    depth, color_type = head[24], head[25]  # fields of the IHDR chunk, which comes first

    def palette() -> tf.Tensor:
        # channels=0 gives three channels or, with tRNS, four. channels=4 gives a wrong alpha value below 8 bits.
        return tf.io.decode_png(encoded, channels=0)

    def direct() -> tf.Tensor:
        # With channels=4 a tRNS colour becomes alpha; channels=0 ignores it. Without alpha and tRNS the decoder fills
        # in 2**depth - 1. Below 8 bits only tRNS can make a pixel transparent, so that alpha is either 0 or 255.
        pixels = tf.io.decode_png(encoded, channels=4)
        alpha = tf.where(tf.logical_and(depth < 8, pixels[..., 3:] > 0), tf.constant(255, tf.uint8), pixels[..., 3:])
        return tf.concat([pixels[..., :3], alpha], -1)

    return tf.cond(
        tf.equal(depth, 16),
        lambda: _rgb(tf.io.decode_png(encoded, channels=4, dtype=tf.uint16), spec),
        lambda: _rgb(tf.cond(tf.equal(color_type, 3), palette, direct), spec),
    )


def _decode_stack(encoded: tf.Tensor, head: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes a gray PNG that has the channels one below another.

    Returns:
      uint8 (h, w, channels)."""
    height = tf.reduce_sum(tf.cast(head[20:24], tf.int32) * tf.constant([1 << 24, 1 << 16, 1 << 8, 1]))
    png = tf.reduce_all(tf.equal(head[:4], tf.constant(list(b"\x89PNG"), tf.uint8)))
    gray = tf.logical_and(tf.equal(head[24], 8), tf.equal(head[25], 0))
    check = tf.debugging.Assert(
        tf.reduce_all([png, gray, tf.equal(height % channels, 0)]),
        [
            f"Expected the {channels} bands of an image one below another in a gray PNG. Make it of a TIFF with "
            "pipelines.formats.canonical(bytes, policy=...), or use `python -m trainer predict`."
        ],
    )
    with tf.control_dependencies([check] if check is not None else []):
        stack = tf.io.decode_png(tf.identity(encoded), channels=1)
    shape = tf.shape(stack)
    return tf.transpose(tf.reshape(stack, (channels, shape[0] // channels, shape[1])), (1, 2, 0))


def _decode_webp(encoded: tf.Tensor, head: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    riff = tf.reduce_all(tf.equal(head[:4], tf.constant(list(b"RIFF"), tf.uint8)))
    webp = tf.reduce_all(tf.equal(head[8:12], tf.constant(list(b"WEBP"), tf.uint8)))
    extended = tf.reduce_all(tf.equal(head[12:16], tf.constant(list(b"VP8X"), tf.uint8)))
    animated = tf.logical_and(extended, tf.bitwise.bitwise_and(head[20], WEBP_ANIMATION) > 0)
    check = tf.debugging.Assert(
        tf.logical_and(tf.logical_and(riff, webp), tf.logical_not(animated)),
        ["Expected JPEG, PNG or WebP bytes, not animated. Convert others first: pipelines.formats.canonical(bytes)."],
    )
    with tf.control_dependencies([check] if check is not None else []):
        checked = tf.identity(encoded)
    # channels=0 (as stored) is used because only libwebp knows whether there is alpha: the header's flag may be wrong.
    # The op must never get an animation: TensorFlow 2.21 then writes beyond its buffer and the process crashes.
    image = tf.image.decode_webp(checked, channels=0)  # (1, h, w, 3 or 4)
    return _rgb(tf.reshape(image, tf.shape(image)[-3:]), spec)


def _rgb(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Composites pixels over the background and rounds them once to 8 bits.

    A large picture is processed in bands of rows: the floats of a full picture take 12 to 24 times its bytes.

    Args:
      pixels: uint8 or uint16 (h, w, 3 or 4).

    Returns:
      uint8 (h, w, 3).
    """
    return _in_bands(pixels, lambda band: _band_rgb(band, spec), 3)


def _in_bands(pixels: tf.Tensor, convert: Callable[[tf.Tensor], tf.Tensor], channels: int) -> tf.Tensor:
    """Converts a picture to uint8 (h, w, channels), a large one in bands of rows."""
    shape = tf.shape(pixels)
    rows = tf.maximum(_BAND // tf.maximum(shape[1], 1), 1)

    def banded() -> tf.Tensor:
        count = (shape[0] + rows - 1) // rows
        bands = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=(None, None, channels))
        _, bands = tf.while_loop(
            lambda i, _: i < count,
            lambda i, bands: (i + 1, bands.write(i, convert(pixels[i * rows : (i + 1) * rows]))),
            (tf.constant(0), bands),
            parallel_iterations=1,
        )
        return bands.concat()

    converted = tf.cond(shape[0] <= rows, lambda: convert(pixels), banded)
    converted.set_shape((None, None, channels))
    return converted


def _in_channels(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    """Returns RGB pixels (h, w, 3) in the channels of the form: (h, w, spec.channels)."""
    return pixels if spec.channels == 3 else _in_bands(pixels, _gray, 1)


def _gray(pixels: tf.Tensor) -> tf.Tensor:
    """Converts uint8 (h, w, 3) to gray (h, w, 1), as Pillow's `convert("L")` does.

    All numbers are whole and below 2**24, or such numbers divided by 65536, so float32 holds them exactly.
    """
    red, green, blue = tf.unstack(tf.cast(pixels, tf.float32), num=3, axis=-1)
    weighted = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2] + 32768.0
    return tf.cast(tf.floor(weighted / 65536.0), tf.uint8)[..., None]


def _band_rgb(pixels: tf.Tensor, spec: ImageSpec) -> tf.Tensor:
    deep = pixels.dtype == tf.uint16
    real = tf.float64 if deep else tf.float32  # rounds like exact arithmetic, as no value is halfway
    top = pixels.dtype.max
    alpha = tf.cast(pixels[..., 3:], real) / top  # (h, w, 1), or (h, w, 0) without alpha

    def levels() -> tf.Tensor:
        values = tf.cast(pixels[..., :3], real)
        if not deep or spec.source.value_range is None:
            return values / (top / 255)
        low, high = spec.source.value_range
        return tf.clip_by_value((values - low) / ((high - low) / 255), 0.0, 255.0)

    def opaque() -> tf.Tensor:
        return rounded(levels()) if deep else pixels[..., :3]

    def composite() -> tf.Tensor:
        return rounded(levels() * alpha + tf.constant(spec.background, real) * (1 - alpha))

    rgb = tf.cond(tf.reduce_all(alpha >= 1), opaque, composite)
    rgb.set_shape((None, None, 3))
    return rgb
