"""Checks the images, their labels, and how they are read."""
