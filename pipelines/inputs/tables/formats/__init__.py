"""Reads the rows of one file: text, JSON, spreadsheets, Parquet and TFRecord.

The rooms above it say what the columns mean. Begin in `table_file`.
"""
