"""Exports the functions of `images.files.formats` under their public name.

Prepared datasets and exported models refer users to this name.
"""

from pipelines.images.files.deep_pixels import eight_bit
from pipelines.images.files.formats import canonical, read_header
from pipelines.images.files.image_error import ImageError
from pipelines.images.files.opening import FORMATS

__all__ = ["FORMATS", "ImageError", "canonical", "eight_bit", "read_header"]
