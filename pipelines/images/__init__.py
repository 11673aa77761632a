"""Turns the encoded bytes of one image into pixels.

This room holds the accepted formats, safe decoding, orientation, resizing and augmentation. Begin in `decode`.
`bounded_header` trims a hostile file before Pillow opens it; `formats` lists what is accepted. A resize mode is added
in `resize`. `file_reader` opens the files of strangers for other programs, in worker processes.
"""
