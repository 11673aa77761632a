"""Draws the sample images, so that `make all` needs no data of your own.

Begin in `draw`.
"""
