"""Copies the user's model for experiments, as it is and with one thing changed.

Begin with `model_copy`, which holds a copy with its loss, an optimizer and a batch.
"""
