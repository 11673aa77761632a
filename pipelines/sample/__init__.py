"""Draws the sample images, so that `make all` runs without any data of yours. Begin in `draw`."""
