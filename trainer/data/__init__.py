"""Makes batches: reads, checks, shuffles, resamples, normalizes and caches shards.

Begin in `dataset` (`load`). Local shards of raw pixels are memory-mapped (`shards/`); other shards are read as streams
(`record_stream`).
"""
