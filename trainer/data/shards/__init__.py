"""Reads records out of local shards, and checks the shards before.

A shard is mapped into memory (`mmap_tfrecord`), all shards of a split are one array (`mmap_array`), and `gather` takes
the records of a batch out of it, at the places that `example_layout` finds. `integrity` compares the files with the
contract. Begin in `gather`.
"""
