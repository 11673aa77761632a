"""Decides duplicates, splits, balance and shards before pixels are decoded.

The plan states which shard holds which image. Begin in `plan`. The functions are pure and depend on ranks and counts
only. Imports configuration and core.
"""
