"""Does what the service would with a staged job; Beam's local runner stands for it, and decodes in this process.

Run as: dataflow_run.py PIPELINE PHOTOS MADE. PHOTOS is what is in gs://photos/in/; all that is in buckets after it goes
into MADE.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import dataflow_launch as stand_ins
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.job import worker_tasks
from pipelines.workers import pool
from pipelines.workers.pool import Outcome


class Here:
    """Workers' tasks, done at once."""

    count = 1

    def submit(self, task: str, shared: tuple[Any, ...], items: Iterable[tuple[Any, ...]], *_: Any) -> list[Outcome]:
        futures = []
        for item in items:
            futures.append(Outcome())
            futures[-1].set_result(getattr(worker_tasks, task)(*item, *shared))
        return futures


def main() -> None:
    _, pipeline, photos, made = sys.argv
    stand_ins.stand_in()
    pool.shared = lambda *_: Here()  # type: ignore[assignment]
    for path in pathlib.Path(photos).rglob("*"):
        if path.is_file():
            stand_ins.OBJECTS[f"gs://photos/in/{path.relative_to(photos).as_posix()}"] = path.read_bytes()
    message = beam_runner_api_pb2.Pipeline.FromString(pathlib.Path(pipeline).read_bytes())
    for environment in message.components.environments.values():
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(message, PipelineOptions([])).wait_until_finish()
    stand_ins.keep(pathlib.Path(made))
    print(pool.__file__)


if __name__ == "__main__":
    main()
