"""Re-exports the functions that read a prepared dataset, under their public names; docs/api.md describes them."""

from trainer.data.dataset import is_gathered, load, wire_dtype

__all__ = ["is_gathered", "load", "wire_dtype"]
