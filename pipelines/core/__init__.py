"""Small things that every room uses: elements, summaries, hashing, texts, progress.

Begin in `elements` (the types that flow through the Beam graph). Imports no other room; importing it loads neither
TensorFlow nor Beam.
"""
