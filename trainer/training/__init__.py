"""Trains a model and writes the finished run.

The package holds the training loop, the step, losses, optimizers, the fitted head, checkpoints and resuming.
Begin in `train`. Losses are in `losses`, the learning-rate schedules in `optimizers`.
"""
