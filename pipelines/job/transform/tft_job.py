"""Builds and runs the job of TensorFlow Transform in a worker process of its own.

The worker builds the job while other workers decode images, and runs it when they have finished. The job reads one row
for each shard and each label, so it always runs in this process, also if another engine runs the other jobs. It must
not run in the main process: after an analysis the shutdown of the interpreter crashes in protobuf's C code. A worker
process ends without that shutdown.
"""

from __future__ import annotations

import gc
import os

import apache_beam as beam
import tensorflow_transform.beam as tft_beam

from pipelines import storage
from pipelines.core.elements import Affine
from pipelines.job.transform import analysis_rows, kept_graphs, preprocessing
from pipelines.job.transform.analysis import Analysis
from pipelines.runners import runner
from pipelines.workers import memory_limit

_built: dict[str, tuple[Analysis, beam.Pipeline]] = {}  # work directory -> what is built there


def build(analysis: Analysis) -> None:
    """Builds the job for `run`, if it is not built yet."""
    if _built.get(analysis.work.root, (None,))[0] == analysis:
        return
    # An interrupted run in the same process, as in a notebook, may have finished its analysis after this run began.
    storage.remove(os.path.join(analysis.folder, kept_graphs.FOLDER))
    job = runner.empty_job(runner.runner("DirectRunner")[0], runner.options(()))
    with tft_beam.Context(temp_dir=os.path.join(analysis.folder, kept_graphs.TEMPORARY)):
        _analyze(job, analysis, os.path.join(analysis.folder, kept_graphs.FOLDER))
    _built[analysis.work.root] = analysis, job


def run(analysis: Analysis) -> tuple[Affine, kept_graphs.Targets]:
    """Executes the job and returns the numbers of its transform graph.

    They are (scale, offset) of pixels, and "mean" and "std" of targets.

    The graph is then below `analysis.folder`, and it is kept for other runs.
    """
    folder = analysis.folder
    build(analysis)
    with tft_beam.Context(temp_dir=os.path.join(folder, kept_graphs.TEMPORARY)):
        _built.pop(analysis.work.root)[1].run().wait_until_finish()
    graph = os.path.join(folder, kept_graphs.FOLDER, "transform_fn")
    kept_graphs.rename(analysis)
    found = preprocessing.read_numbers(graph, analysis.spec.image, analysis.targets)
    kept_graphs.keep(analysis, found)
    gc.collect()  # Beam and TensorFlow leave cycles of 80 MB; a process that prepares often would keep all of them
    memory_limit.give_back()
    return found


def _analyze(pipeline: beam.Pipeline, analysis: Analysis, folder: str) -> None:
    """Builds the job that fits the transform graph and writes it to a folder.

    It reads the accounts of the staged shards. Call it inside `tft_beam.Context`.
    """
    rows = (
        pipeline
        | "Start" >> beam.Create([None])
        # A row per label and per train shard:
        | "AnalysisRows"
        >> beam.FlatMap(analysis_rows.analysis_rows, analysis.dataset, analysis.spec, analysis.work, analysis.targets)
    )
    metadata = preprocessing.raw_metadata(analysis.spec.image.channels, analysis.targets)
    transform_fn = (rows, metadata) | "Analyze" >> tft_beam.AnalyzeDataset(
        preprocessing.make_preprocessing_fn(analysis.spec, analysis.normalize, analysis.affine, analysis.targets)
    )
    transform_fn | "WriteTransformFn" >> tft_beam.WriteTransformFn(folder)
