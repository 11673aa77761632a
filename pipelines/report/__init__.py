"""Draws `report.html` of a prepared dataset.

Begin in `page`; `charts` computes the SVG charts.
"""
