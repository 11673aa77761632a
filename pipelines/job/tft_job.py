"""TensorFlow Transform's job, in a worker process of its own: built while images are decoded, run when they are done.

It sees a row of each shard and of each label, so it runs in this process whatever engine does the work. And it stays
in this process: after an analysis the interpreter's shutdown ends in a crash in protobuf's C code, which a worker's end
does not touch.
"""

from __future__ import annotations

import os

import apache_beam as beam
import tensorflow_transform.beam as tft_beam

from pipelines import storage
from pipelines.config import PrepareConfig
from pipelines.core.elements import Affine
from pipelines.job import pipeline, transform
from pipelines.runners import runner
from pipelines.work_dir import Work

_built: dict[str, beam.Pipeline] = {}


def build(config: PrepareConfig, work: Work, folder: str) -> None:
    """Builds the job for `run`, which will write into a local folder: TensorFlow writes nowhere else for certain."""
    job = beam.Pipeline(runner=runner.runner("DirectRunner")[0], options=runner.options(()))
    with tft_beam.Context(temp_dir=os.path.join(folder, "tft")):
        pipeline.analyze(job, config, work, os.path.join(folder, "transform"))
    _built[work.root] = job


def run(config: PrepareConfig, work: Work, folder: str) -> Affine:
    """Runs the job; returns the (scale, offset) of the graph that it wrote, and which then is below `work`."""
    if work.root not in _built:
        build(config, work, folder)
    with tft_beam.Context(temp_dir=os.path.join(folder, "tft")):
        _built.pop(work.root).run().wait_until_finish()
    written = os.path.join(folder, "transform")
    if storage.is_remote(work.root):
        storage.put_tree(written, work.path("transform"))
    return transform.read_affine(os.path.join(written, "transform_fn"))
