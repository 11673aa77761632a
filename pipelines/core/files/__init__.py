"""Writes, locks and names files, for every room.

Begin in `atomic`. `members` and `urls` say what a path stands for. Like all of `core` it imports no other room.
"""
