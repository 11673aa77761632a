"""Watches Keras while a program trains, and keeps what only running shows.

`watcher` stands in for the methods of Keras, `watched_tape` follows the training loops that a program writes itself,
and `watched_loop` keeps their batches. The others keep what calls before and between the trainings tell: numbers of
categories, rows that are joined, words of layers, the training mode, sums of gradients, rows that were seen. `places`
finds the user's line of a call. Begin in `watcher`.
"""
