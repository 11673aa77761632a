"""Writes the results of a run as pages, plots, tables and TensorBoard summaries.

Begin in `page`.
"""
