"""Views of Beam's options show what Beam's own show, and are made once."""

from __future__ import annotations

import copy
import pickle

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TypeOptions,
)

from pipelines.runners import runner
from pipelines.runners.beam_options import BeamOptions

FLAGS = ["--direct_num_workers=2", "--experiments=one", "--experiments=two", "--job_name=x"]
KINDS = (DebugOptions, DirectOptions, SetupOptions, StandardOptions, TypeOptions)


@pytest.fixture
def options() -> PipelineOptions:
    return runner.options(FLAGS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_has_what_beams_own_view_has(options, kind):
    own = PipelineOptions(FLAGS, pipeline_type_check=False)
    assert str(options.view_as(kind)) == str(own.view_as(kind))
    assert type(options.view_as(kind)) is kind
    assert options.get_all_options() == own.get_all_options()


def test_a_change_in_a_view_is_one_of_the_options(options):
    options.view_as(DebugOptions).experiments.append("three")
    options.view_as(StandardOptions).streaming = True
    assert options.view_as(DebugOptions).experiments == ["one", "two", "three"]
    assert options.get_all_options()["experiments"] == ["one", "two", "three"]
    assert options.view_as(StandardOptions).streaming is True
    assert options.get_all_options()["streaming"] is True


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_has_views_of_its_own(options, copied):
    options.view_as(DirectOptions).direct_num_workers = 3
    other = copied(options)
    assert other.view_as(DirectOptions).direct_num_workers == 3
    other.view_as(DirectOptions).direct_num_workers = 4
    assert options.view_as(DirectOptions).direct_num_workers == 3


def test_flags_are_parsed_once_for_each_view(options, monkeypatch):
    parsed = []
    original = PipelineOptions.__init__
    monkeypatch.setattr(
        PipelineOptions, "__init__", lambda self, *a, **k: parsed.append(type(self)) or original(self, *a, **k)
    )
    job = runner.empty_job(runner.runner("DirectRunner")[0], options)
    assert isinstance(job._options, BeamOptions)
    del parsed[:]
    for _ in range(3):
        job._options.view_as(SetupOptions)
        job._options.view_as(TypeOptions)
    assert len(parsed) == len(set(parsed)) <= 2
