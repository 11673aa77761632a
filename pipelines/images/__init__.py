"""Bytes of one image to pixels: which formats are read, safe decoding, orientation, resizing, augmentation.

Begin in `decode`. `bounded_header` trims a hostile file before Pillow opens it; `formats` lists what is accepted.
A resize mode is added in `resize`. Imports core only.
"""
