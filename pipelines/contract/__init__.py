"""Defines what the writer and the reader of a dataset agree on.

That is `contract.json`, the framing of TFRecord files, and tf.train.Example. The names below are public: other people's
programs may use them, and docs/api.md describes them. `contract` has the dataclasses and writes their JSON,
`contract_file` reads it; `task` says what a model answers; `metadata`
which columns travel along; `tensors` turns records into tensors; `json_fields` checks
untrusted JSON; `tfrecord` and `tf_example` are the formats of a file and of a record; `ledger` reads what each record
was made of, and `folds` in which fold it is; `graph_check` looks at a SavedModel before TensorFlow loads it. This room
imports only `core`, and loads neither TensorFlow nor Beam.
"""

from pipelines.contract.contract import (
    CHANNEL_ORDERS,
    ENCODINGS,
    FILE_NAME,
    FILTERS,
    FORMAT_VERSION,
    KEY_BYTES,
    MAX_CONTRACT_BYTES,
    MAX_SIDE,
    NORMALIZATIONS,
    RAW_DTYPES,
    RESIZE_MODES,
    TRANSFORM_DIR,
    Contract,
    Normalization,
    Shard,
    Split,
)
from pipelines.contract.contract_file import from_json, load, read_text
from pipelines.contract.metadata import MetadataColumn
from pipelines.contract.task import Task
from pipelines.contract.tensors import (
    ANALYSIS_COLUMNS,
    analysis_columns,
    decode_image,
    feature_spec,
    images_from_records,
    load_transform,
    normalize,
    stored_from_records,
)
from pipelines.core.errors import ContractError

__all__ = [
    "ANALYSIS_COLUMNS",
    "CHANNEL_ORDERS",
    "ENCODINGS",
    "FILE_NAME",
    "FILTERS",
    "FORMAT_VERSION",
    "KEY_BYTES",
    "MAX_CONTRACT_BYTES",
    "MAX_SIDE",
    "NORMALIZATIONS",
    "RAW_DTYPES",
    "RESIZE_MODES",
    "TRANSFORM_DIR",
    "Contract",
    "ContractError",
    "MetadataColumn",
    "Normalization",
    "Shard",
    "Split",
    "Task",
    "analysis_columns",
    "decode_image",
    "feature_spec",
    "from_json",
    "images_from_records",
    "load",
    "load_transform",
    "normalize",
    "read_text",
    "stored_from_records",
]
