"""Decides duplicates, splits, balance and shards before pixels are decoded.

`splits` decides train, validation and test; `balance` how many records each image becomes; `plan` states which shard
holds which record. Begin in `plan`. The functions are pure and depend on ranks and counts
only. Imports core.
"""
