"""Reads a finished dataset: describes it, verifies it, compares it with its source, draws a contact sheet.

Begin in `describe` or `verify`.
"""
