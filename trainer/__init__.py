"""Shardmill's trainer: builds its input and its model from a dataset's contract."""
