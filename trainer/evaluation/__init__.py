"""Scores models and compares runs.

The modules compute predictions, metrics, confidence intervals and the calibration.

Begin in `evaluate` (one model) or `compare` (several runs).
"""
