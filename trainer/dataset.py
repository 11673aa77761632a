"""Exports the public functions that read a prepared dataset.

docs/api.md describes them.
"""

from trainer.data.dataset import is_gathered, load, wire_dtype

__all__ = ["is_gathered", "load", "wire_dtype"]
