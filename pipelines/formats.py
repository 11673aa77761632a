"""Exports the functions of `images.files.formats` under their public name.

Prepared datasets and exported models refer users to this name.
"""

from pipelines.images.files.formats import FORMATS, ImageError, canonical, eight_bit, read_header

__all__ = ["FORMATS", "ImageError", "canonical", "eight_bit", "read_header"]
