"""Decodes, turns and resizes images with TensorFlow ops only.

Begin in `decode`. The served model holds the same ops. A resize mode is added in `resize`.
"""
