"""The form of the Beam graph, which no runner on this machine checks as strictly as a job server does."""

from __future__ import annotations

import collections

import apache_beam as beam
import pytest

from pipelines.config import PrepareConfig
from pipelines.inputs.rules import InputSpec
from pipelines.job import pipeline
from pipelines.work_dir import Work

FLATTEN = "beam:transform:flatten:v1"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"folds": "3x2", "group_similar": 10},
        {"unlabelled": ("rows",), "duplicates": "fail", "folds": "3", "group_similar": 10, "labels": "multi"},
        {"unlabelled": ("rows",), "duplicates": "drop", "target": ("age",)},
    ],
    ids=["classes", "folds", "labels", "numbers"],
)
def test_one_stage_reads_the_result_of_a_flatten(options, tmp_path):
    """The job servers of Flink and Spark refuse a graph in which several do."""
    path = "t.csv" if len(options) > 2 or "target" in options else "photos"
    config = PrepareConfig(input=path, output=str(tmp_path), workers=1, **options)
    graph = beam.Pipeline()
    spec = InputSpec(path, table=config.table_spec, unlabelled=config.unlabelled)
    pipeline.write(graph, config, spec, Work(str(tmp_path / "work")))
    transforms = graph.to_runner_api().components.transforms.values()
    results = [output for t in transforms if t.spec.urn == FLATTEN for output in t.outputs.values()]
    readers = collections.Counter(read for t in transforms if not t.subtransforms for read in set(t.inputs.values()))
    assert results
    assert {name: readers[name] for name in results if readers[name] != 1} == {}
