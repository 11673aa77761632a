"""Fits the normalization with TensorFlow Transform and saves its graph.

`preprocessing` is what the graph computes, `analysis_rows` the few rows that it is fitted on, and `tft_job` the job.
`kept_graphs` fills the numbers of a run into a graph of an earlier one, and `canonical_graph` gives equal graphs equal
names. Begin in `tft_job`.
"""
