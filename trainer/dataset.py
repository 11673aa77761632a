"""Exports the public functions that read a prepared dataset.

docs/api.md describes them.
"""

from trainer.data.dataset import batches, is_gathered, load, wire_dtype

__all__ = ["batches", "is_gathered", "load", "wire_dtype"]
