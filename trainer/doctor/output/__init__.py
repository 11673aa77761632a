"""Tells the findings as text, JSON and a page. Begin in `text`."""
