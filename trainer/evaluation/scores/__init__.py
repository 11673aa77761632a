"""Computes scores, intervals, curves and calibration with pure functions.

Begin in `metrics` (classes), `label_scores` (several labels) or `number_scores`. Nothing here reads a file.
"""
