"""Executes training steps on one device or several, in 16 or 32 bits.

`distribution` divides a batch over devices, `cluster` over machines. `compiled_steps` makes one call of several steps.
It imports the configuration and the networks, and knows nothing of a run. Begin in `distribution`.
"""
