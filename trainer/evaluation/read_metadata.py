"""Reads the columns that travel along with the records of a split."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract.metadata import TEXT
from trainer.data import parts, record_stream
from trainer.data.shards import integrity
from trainer.evaluation import derived_columns
from trainer.evaluation.inference import KEY_BATCH
from trainer.evaluation.slices import NO_METADATA, Column, Metadata


def beside(result: Any, data: str | os.PathLike[str], smallest: int, derived: tuple[str, ...] = ()) -> Any:
    """Returns a result with the columns of its records, so that it has slices.

    Args:
      result: of a split: an `Assessment` or a `Result`.
      data: the dataset that it was predicted on.
      smallest: fewest records of a slice.
      derived: names of columns that are made of the records themselves; see `derived_columns`.
    """
    metadata = read(data, result.split, smallest)
    if derived:
        made = derived_columns.made(derived, data, result.split)
        metadata = Metadata((*metadata.columns, *made), smallest)
    return dataclasses.replace(result, metadata=metadata) if metadata.columns else result


def read(data: str | os.PathLike[str], split: str, smallest: int) -> Metadata:
    """Reads the columns of all records of a split, in the order of `inference.keys`."""
    contract = contracts.load(data)
    if not contract.metadata:
        return NO_METADATA
    part = parts.find(contract, data, split)
    whole = contracts.feature_spec(contract)
    spec = {column.feature: whole[column.feature] for column in contract.metadata}
    records = tf.data.TFRecordDataset(integrity.checked_shards(contract, os.fspath(data), part.split)).batch(KEY_BATCH)
    batches = [
        {name: values.numpy() for name, values in batch.items()}
        for batch in records.map(lambda serialized: tf.io.parse_example(serialized, spec))
    ]
    which = record_stream.in_order(part)
    columns = []
    for column in contract.metadata:
        values = np.concatenate([batch[column.feature] for batch in batches])[which]
        if column.dtype == TEXT:
            values = np.array([value.decode("utf-8", "replace") for value in values], object)
        columns.append(Column(column.name, column.dtype, values))
    return Metadata(tuple(columns), smallest)
