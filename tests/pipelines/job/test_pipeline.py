"""The form of the Beam graph, which no runner on this machine checks as strictly as a job server does."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines import contract, storage
from pipelines.config import PrepareConfig
from pipelines.inputs.rules import InputSpec
from pipelines.job import pipeline
from pipelines.work_dir import Work

OLD = "tests/data/format_1/uint8"
FLATTEN, PAR_DO = "beam:transform:flatten:v1", "beam:transform:pardo:v1"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"folds": "3x2", "group_similar": 10},
        {"unlabelled": ("rows",), "duplicates": "fail", "folds": "3", "group_similar": 10, "labels": "multi"},
        {"unlabelled": ("rows",), "duplicates": "drop", "target": ("age",)},
        {"like": OLD, "duplicates": "fail", "group_similar": 10},
        {"like": OLD, "unlabelled": ("unlabeled",)},
    ],
    ids=["classes", "folds", "labels", "numbers", "like", "like, unlabelled"],
)
def test_only_plain_stages_read_what_a_flatten_reads(options, tmp_path):
    """The job servers of Flink and Spark refuse other graphs; see `_for_flatten`."""
    path = "t.csv" if "labels" in options or "target" in options else "photos"
    config = PrepareConfig(input=path, output=str(tmp_path), workers=1, **options)
    graph = beam.Pipeline()
    spec = InputSpec(path, table=config.table_spec, unlabelled=config.unlabelled)
    old = contract.load(config.like, storage.reading_text) if config.like else None
    pipeline.write(graph, config, spec, Work(str(tmp_path / "work")), old)
    leaves = [t for t in graph.to_runner_api().components.transforms.values() if not t.subtransforms]
    flattened = {name for t in leaves if t.spec.urn == FLATTEN for name in t.inputs.values()}
    others = [t for t in leaves if t.spec.urn != FLATTEN and flattened & set(t.inputs.values())]
    assert flattened
    for transform in others:
        assert transform.spec.urn == PAR_DO, transform.unique_name
        assert not beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).side_inputs, (
            transform.unique_name
        )
