"""Builds networks, checks them against a contract and reads their outputs.

Begin in `build`.
"""
