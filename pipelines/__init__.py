"""Prepares images as balanced, normalized, sharded TFRecords with a contract.

An image goes through the rooms in this order: `inputs` lists it, `images` decodes it, `plan` gives it its split and
shard, `records` writes it, and `job` leads it through Beam and publishes the dataset. `contract` is what trainers read.
`cli` has the commands, `config` their options, `runners` the engines, `workers` the processes, and `core` and `storage`
serve all.
"""

# The version of both programs, and the only place that names it: setup.py reads this line without importing it.
__version__ = "0.1.0"
