"""Builds, checks and uses the served model: SavedModel, TFLite, ONNX, and `predict`.

Begin in `export`; `saved_model` builds the graph from encoded bytes to probabilities.
"""
