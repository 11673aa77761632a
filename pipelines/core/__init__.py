"""Provides what every room uses: options, elements, errors, hashing, texts.

Begin in `elements` (the types that flow through the Beam graph) and `config_fields` (how an option is declared). This
room imports no other room, and its import loads neither TensorFlow nor Beam.
"""
