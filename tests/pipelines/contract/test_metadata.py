"""Columns that travel along: in contract.json, and in the bytes of a record."""

import dataclasses
import json
import math

import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError, MetadataColumn, metadata, tf_example
from pipelines.contract.tf_example import ExampleError
from tests.support.datasets import make_contract, write_dataset

COLUMNS = (
    MetadataColumn("age", "int64", 3),
    MetadataColumn("größe", "float32"),
    MetadataColumn("site", "string", 0, 2),
)
VALUES = {"metadata/age": -7, "metadata/größe": 0.5, "metadata/site": "Zürich"}


@pytest.mark.parametrize("label", [3, (1.0, -2.5)])
@pytest.mark.parametrize(
    "values",
    [VALUES, {"metadata/age": metadata.MISSING_INTEGER, "metadata/größe": math.nan, "metadata/site": ""},
     {"metadata/age": 2**63 - 1}, {}],
)  # fmt: skip
def test_a_record_has_the_bytes_of_protobuf_and_is_read_back(label, values):
    record = tf_example.serialize(b"pixels" * 60, label, 2.0, "0" * 20, values)

    assert tf.train.Example.FromString(record).SerializeToString(deterministic=True) == record
    found = tf_example.parse(record)
    assert found[:4] == (b"pixels" * 60, label, 2.0, "0" * 20)
    assert found.metadata.keys() == values.keys()
    assert all(metadata.same(found.metadata[name], values[name]) for name in values)


@pytest.mark.parametrize("value", [None, 31])
def test_the_specification_of_a_record_reads_missing_values_and_others(value):
    contract = make_contract(metadata=COLUMNS)
    kept = {c.feature: metadata.stored({"age": value}.get(c.name), c.dtype) for c in COLUMNS}
    record = tf_example.serialize(b"", 0, 1.0, "0" * 20, kept)

    parsed = tf.io.parse_single_example(record, contracts.feature_spec(contract))

    assert parsed["metadata/age"].numpy() == (-(2**63) if value is None else 31)
    assert math.isnan(parsed["metadata/größe"].numpy())
    assert parsed["metadata/site"].numpy() == b""


def test_a_feature_twice_or_with_two_values_is_no_record():
    record = tf_example.serialize(b"", 0, 1.0, "0" * 20, {"metadata/age": 1})
    twice = tf.train.Example.FromString(record)
    twice.features.feature["metadata/age"].int64_list.value.append(2)
    with pytest.raises(ExampleError, match=r"its metadata/age should be one value\. Received: 2"):
        tf_example.parse(twice.SerializeToString())


def test_the_contract_says_names_types_and_what_is_missing(tmp_path):
    plain = write_dataset(tmp_path)
    contract = dataclasses.replace(plain, metadata=COLUMNS)
    told = json.loads(contract.to_json())

    assert told["metadata"] == [
        {"name": "age", "dtype": "int64", "missing": 3},
        {"name": "größe", "dtype": "float32", "missing": 0},
        {"name": "site", "dtype": "string", "missing": 0, "different": 2},
    ]
    assert contracts.from_json(contract.to_json()) == contract
    assert "metadata" not in json.loads(plain.to_json())
    for change, said in (
        ({"dtype": "int32"}, "metadata[0].dtype should be one of int64, float32, string"),
        ({"name": "site"}, "each column should have a name of its own"),
        ({"missing": -1}, "metadata[0].missing should be a whole number from 0"),
    ):
        wrong = {**told, "metadata": [{**told["metadata"][0], **change}, *told["metadata"][1:]]}
        with pytest.raises(ContractError) as caught:
            contracts.from_json(json.dumps(wrong))
        assert said in str(caught.value)
