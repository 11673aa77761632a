"""Lists the images of an input: class folders, a glob, or a manifest.

A manifest is CSV, JSON lines or Parquet. Begin in `listing`, which chooses between `folders` and `manifest`. This room
imports core and storage.
"""
