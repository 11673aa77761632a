"""Provides what every room uses: elements, summaries, errors, hashing, texts.

Begin in `elements` (the types that flow through the Beam graph). `files` writes and names files, `console` is what a
terminal shows. This room imports no other room, and its import loads
neither TensorFlow nor Beam.
"""
