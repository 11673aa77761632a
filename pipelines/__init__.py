"""Shardmill's data preparation: images to balanced, normalized, sharded TFRecords with a contract."""
