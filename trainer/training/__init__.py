"""Trains a model and writes the finished run.

The package holds the training loop, the step, optimizers, the fitted head, checkpoints and resuming. Begin in `train`.
Learning-rate schedules are in `optimizers`, and losses in `tasks.losses`.
"""
