"""Reads tables of images: their bytes, their columns, and their rows as sources.

`table_file` makes rows of bytes, and `record_files` of TFRecord and Parquet files that hold images. `table_columns`
finds the columns, and `manifest` makes sources of the rows. Begin in `manifest`.
"""
