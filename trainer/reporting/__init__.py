"""Draws what a run found: pages, plots, tables and TensorBoard summaries. Begin in `page`."""
