"""Tells whether training waits for its input, and what to change. Begin in `measure`."""
