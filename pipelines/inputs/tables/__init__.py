"""Reads tables of images: their columns, and their rows as sources.

`formats/` makes rows of the bytes of one file, and `record_files` finds TFRecord and Parquet files that hold images.
`table_columns` finds the columns, and `manifest` makes sources of the rows. Begin in `manifest`.
"""
