"""Draws `report.html` of a prepared dataset. Begin in `page`; `charts` draws the SVG charts."""
