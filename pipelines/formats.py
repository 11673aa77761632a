"""Exports the functions of `pipelines.images.formats` under their public name.

Prepared datasets and exported models refer users to this name.
"""

from pipelines.images.formats import FORMATS, ImageError, canonical, eight_bit, read_header

__all__ = ["FORMATS", "ImageError", "canonical", "eight_bit", "read_header"]
