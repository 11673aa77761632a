"""One image to one record, records to one shard file, and the ledger of what each record is made of.

Begin in `make_record`, then `shard_writer` (writes the TFRecords). `normalize_shard` is the second pass.
"""
