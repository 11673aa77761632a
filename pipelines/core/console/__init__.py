"""Says what the programs do: logs, progress, standard streams, interrupts.

Begin in `terminal`. Like all of `core` it imports no other room.
"""
