"""Adds up what a finished job did, and publishes it as a dataset.

Begin in `accounting`, which adds up and warns, and in `publish`, which writes contract.json last. `withdraw` removes an
earlier dataset from the output.
"""
