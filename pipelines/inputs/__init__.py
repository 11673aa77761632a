"""Lists the images of an input: folders, a glob, or a manifest.

How a folder is read is found out by `find_layout` from the `folder_tree`, and is stated as a `layout`. A manifest is a
table: `table_file` reads delimited text, JSON lines and Parquet, and `table_columns` finds the path and the label.
Begin in `listing`, which chooses between `folders` and `manifest`. This room imports core and storage.
"""
