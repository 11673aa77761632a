"""Tests of Shardmill. The folders mirror the rooms of `pipelines/` and `trainer/`."""
