"""Decides before pixels are decoded: duplicates, splits, balance, and which shard holds which image.

Begin in `plan`. Pure functions of ranks and counts. Imports configuration and core.
"""
