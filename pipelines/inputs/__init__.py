"""Lists the images of an input: folders, a glob, or a manifest.

A manifest is CSV, JSON lines or Parquet. How a folder is read is found out by `find_layout` from the `folder_tree`, and
is stated as a `layout`. Begin in `listing`, which chooses between `folders` and `manifest`. This room imports core and
storage.
"""
