"""Trains image classifiers; input and model are built from a dataset's contract.

`data` reads batches, `models` builds networks, `tasks` has what differs between classes, labels and numbers (losses,
scores), `training` trains, `evaluation` scores, `reporting` draws, and `serving` exports and predicts. `doctor` says
why an accuracy is low, `ablation` compares ways to prepare and train, `bench` measures the input, and `cli` has the
commands.
"""
