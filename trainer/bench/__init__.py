"""Measures whether training waits for its input, and advises what to change.

Begin in `measure`.
"""
