"""Provides what every room uses: elements, summaries, errors, hashing, texts.

Begin in `elements` (the types that flow through the Beam graph). This room imports no other room, and its import loads
neither TensorFlow nor Beam.
"""
