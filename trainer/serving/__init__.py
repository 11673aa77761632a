"""Exports models as SavedModel, TFLite and ONNX, checks exports, and predicts.

Start reading in `export`; `serving_module` builds the graph from encoded bytes to probabilities.
"""
