"""Finds out and states how an input folder is read.

`folder_tree` counts the images of each folder, `find_layout` decides or asks (`layout_question`), and a `layout` reads
paths. Begin in `find_layout`.
"""
