"""Scores of a model: predictions, metrics, intervals, calibration, and comparison of runs.

Begin in `evaluate` (one model) or `compare` (several runs).
"""
