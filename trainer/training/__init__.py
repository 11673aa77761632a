"""Trains a model and writes the finished run.

The package holds the training loop, the compiled step, losses, optimizers, distribution, checkpoints and resuming.
Begin in `train`. Losses are in `losses`, the learning-rate schedules in `optimizers`.
"""
