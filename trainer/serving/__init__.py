"""Builds, checks and uses the served model: SavedModel, TFLite, ONNX, and `predict`.

Begin in `export`; `serving_module` builds the graph from encoded bytes to probabilities.
"""
