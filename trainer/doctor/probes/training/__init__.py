"""Checks how the model trains: the first step, one batch, past epochs."""
