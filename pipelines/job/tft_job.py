"""Builds and runs the job of TensorFlow Transform in a worker process of its own.

The worker builds the job while other workers decode images, and runs it when they have finished. The job reads one row
for each shard and each label, so it always runs in this process, also if another engine runs the other jobs. It must
not run in the main process: after an analysis the shutdown of the interpreter crashes in protobuf's C code. A worker
process ends without that shutdown.
"""

from __future__ import annotations

import json
import os

import apache_beam as beam
import tensorflow_transform.beam as tft_beam

from pipelines import storage, work_dir
from pipelines.core.elements import Affine
from pipelines.job import pipeline, transform
from pipelines.job.analysis import Analysis
from pipelines.runners import runner

_built: dict[str, beam.Pipeline] = {}


def build(analysis: Analysis) -> None:
    """Builds the job for `run`."""
    # An interrupted run in the same process, as in a notebook, may have finished its analysis after this run began.
    storage.remove(os.path.join(analysis.folder, "transform"))
    job = runner.empty_job(runner.runner("DirectRunner")[0], runner.options(()))
    with tft_beam.Context(temp_dir=os.path.join(analysis.folder, "tft")):
        pipeline.analyze(job, analysis, os.path.join(analysis.folder, "transform"))
    _built[analysis.work.root] = job


def run(analysis: Analysis) -> Affine:
    """Executes the job and returns the (scale, offset) of its transform graph.

    The graph is then below `work`, and so are the mean and the deviation of targets, in work_dir.TARGETS.
    """
    work, folder = analysis.work, analysis.folder
    if work.root not in _built:
        build(analysis)
    with tft_beam.Context(temp_dir=os.path.join(folder, "tft")):
        _built.pop(work.root).run().wait_until_finish()
    written = os.path.join(folder, "transform")
    if folder != work.root:
        storage.put_tree(written, work.path("transform"))
    graph = os.path.join(written, "transform_fn")
    affine, targets = transform.read_numbers(graph, analysis.spec.image, analysis.targets)
    if analysis.targets:
        storage.write_text(work.path(work_dir.TARGETS), json.dumps(targets))
    return affine
