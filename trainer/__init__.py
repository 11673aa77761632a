"""Trains image classifiers; input and model are built from a dataset's contract."""
