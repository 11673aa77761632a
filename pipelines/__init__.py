"""Prepares images as balanced, normalized, sharded TFRecords with a contract.

This package is Shardmill's data preparation.
"""

# The version of both programs, and the only place that names it: setup.py reads this line without importing it.
__version__ = "0.1.0"
