"""TensorFlow Transform's job, in a worker process of its own: built while images are decoded, run when they are done.

It sees a row of each shard and of each label, so it runs in this process whatever engine does the work. And it stays
in this process: after an analysis the interpreter's shutdown ends in a crash in protobuf's C code, which a worker's end
does not touch.
"""

from __future__ import annotations

import apache_beam as beam
import tensorflow_transform.beam as tft_beam

from pipelines import engine, pipeline, transform
from pipelines.config import PrepareConfig
from pipelines.shards import Affine
from pipelines.workspace import Work

_built: dict[str, beam.Pipeline] = {}


def build(config: PrepareConfig, work: Work) -> None:
    """Builds the job for `run`."""
    job = beam.Pipeline(runner=engine.runner("DirectRunner")[0], options=engine.options(()))
    with tft_beam.Context(temp_dir=work.path("tft")):
        pipeline.analyze(job, config, work)
    _built[work.root] = job


def run(config: PrepareConfig, work: Work) -> Affine:
    """Runs the job; returns the (scale, offset) of the graph that it wrote below `work`."""
    if work.root not in _built:
        build(config, work)
    with tft_beam.Context(temp_dir=work.path("tft")):
        _built.pop(work.root).run().wait_until_finish()
    return transform.read_affine(work.path("transform", "transform_fn"))
