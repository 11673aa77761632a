"""Makes records of images, and writes shard files with a ledger.

Begin in `record_spec` and `make_record`, then `shard_writer` (writes the TFRecords). `normalize_shard` is the second
pass. The ledger states what each record is made of.
"""
