"""Re-exports `pipelines.images.formats` under the name that prepared datasets and exported models tell users."""

from pipelines.images.formats import FORMATS, ImageError, canonical, eight_bit, read_header

__all__ = ["FORMATS", "ImageError", "canonical", "eight_bit", "read_header"]
