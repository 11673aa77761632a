"""Implements `ablate`: trains variants that differ in one step and compares them.

All variants use one collection of images. They differ in how it is prepared or how the model is trained on it. Begin
in `ablate`.
"""
