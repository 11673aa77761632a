"""Shards to batches: reads, checks, shuffles, resamples, normalizes and caches.

Begin in `dataset` (`load`). Local shards of raw pixels are memory-mapped (`mmap_tfrecord`, `gather`); others stream.
"""
