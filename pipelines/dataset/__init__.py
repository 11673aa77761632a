"""Reads a finished dataset: describes it, verifies it, and draws its images.

It also compares the dataset with its source. The drawing is a contact sheet. Begin in `describe` or `verify`.
"""
