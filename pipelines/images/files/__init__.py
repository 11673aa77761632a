"""Reads image files of strangers, and makes of them what the graph reads.

Begin in `formats`. `bounded_header` trims a hostile file before Pillow opens it.
"""
