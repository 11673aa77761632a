"""Gathers what the doctor examines: a dataset, a model, a past training.

They are read once, within limits on time and memory. Start reading in `load`.
"""
