"""Trains a model: the loop, the compiled step, losses, optimizers, distribution, checkpoints and resuming.

Begin in `train`. Losses are in `losses`, the learning-rate schedules in `optimizers`.
"""
