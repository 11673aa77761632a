"""`python -m pipelines ARGUMENTS` with stand-ins for what only Google has: buckets, in memory, and the service.

The service takes every job and says at once that it is done. What the first job would leave for the second one, a plan
and the names of the staged shards, is put there for it, and the analysis between them is left out. All else is the
program's own way and Beam's own way to the request. Run as: dataflow_launch.py FOLDER ARGUMENTS; into FOLDER go the
requests (job-1.json, ...) and all that is in the buckets then (gs/BUCKET/PATH).
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import runpy
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any

import google.auth
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.gcp import gcsfilesystem, gcsio
from apache_beam.runners.dataflow.internal import apiclient
from google.cloud import dataflow_v1beta3 as dataflow

from pipelines import storage, work_dir
from pipelines.cli import options
from pipelines.plan import plan
from pipelines.storage import object_stores
from pipelines.workers import pool
from pipelines.workers.pool import Outcome

OBJECTS: dict[str, bytes] = {}
REQUESTS: list[dataflow.CreateJobRequest] = []


class Objects:
    """Takes the place of `object_stores.Gcs`: all buckets are one dictionary."""

    remedy = ""

    def read(self, path: str, limit: int) -> bytes:
        return OBJECTS[path][:limit]

    def fetch(self, path: str, file: IO[bytes]) -> None:
        file.write(OBJECTS[path])

    def put(self, path: str, file: IO[bytes], size: int) -> None:
        OBJECTS[path] = file.read()

    def names(self, path: str, flat: bool) -> Iterator[str]:
        start, end = len(path) - len(object_stores.parts(path)[1]), len(path)
        found = [name for name in sorted(OBJECTS) if name.startswith(path)]
        cut = [name[:end] + "".join(name[end:].partition("/")[:2]) if flat else name for name in found]
        return iter(dict.fromkeys(name[start:] for name in cut))

    def exists(self, path: str) -> bool:
        return path in OBJECTS

    def copy(self, source: str, target: str) -> None:
        OBJECTS[target] = OBJECTS[source]

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            del OBJECTS[path]

    def kind(self, error: BaseException) -> str:
        return object_stores.MISSING if isinstance(error, KeyError) else object_stores.OTHER


def listed(_: gcsfilesystem.GCSFileSystem, prefix: str) -> Iterator[FileMetadata]:
    """In the place of GCSFileSystem's, by which the input is looked for."""
    return (FileMetadata(path, len(data)) for path, data in sorted(OBJECTS.items()) if path.startswith(prefix))


class Service:
    """The clients of Dataflow's interface: what is sent is kept, and done."""

    def __init__(self, **_: Any):
        self.done = dataflow.JobState.JOB_STATE_DONE

    def create_job(self, request: dataflow.CreateJobRequest) -> dataflow.Job:
        REQUESTS.append(request)
        leave_plan()
        return dataflow.Job(id=f"job-{len(REQUESTS)}", name=request.job.name, current_state=self.done)


class Nobody:
    """Workers that are not started."""

    count = 1

    def held(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def submit(self, task: str, shared: Any, items: Any, *_: Any) -> list[Outcome]:
        done: Outcome = Outcome()
        done.set_result(((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)) if task == "run_analysis" else None)
        return [done]


def leave_plan() -> None:
    """What `write` leaves when it is done, as far as `normalize` is built on it: a plan of one image of one class."""
    config = options.prepare_config(options.parse(sys.argv[1:])[0])
    made = plan.make_plan({("train", "cat"): plan.Share(images=1, records=1)}, config.balance, config.sharding)
    work = work_dir.Work(storage.join(config.output, work_dir.Work.DIRECTORY))
    storage.write_text(work.path("plan.json"), made.to_json())
    for file in plan.shard_names(made, config.dataset_name)["train"]:
        storage.write_text(work.path(work_dir.STAGED, file), "")


def stand_in() -> None:
    """Puts the stand-ins in place."""
    object_stores.STORES["gs"] = lambda _: Objects()  # type: ignore[assignment]
    gcsfilesystem.GCSFileSystem._list = listed
    for module in (auth, apiclient):
        module.get_service_credentials = lambda _: None  # nobody's: nothing is asked of a network
    google.auth.default = lambda **_: (None, "my-project")
    gcsio.GcsIO.is_soft_delete_enabled = lambda *_: False
    apiclient.DataflowApplicationClient.stage_file = stage_file
    for name in ("Jobs", "Messages", "Metrics"):
        setattr(apiclient.dataflow, f"{name}V1Beta3Client", Service)
    pool.shared = lambda *_: Nobody()  # type: ignore[assignment]


def stage_file(_: Any, folder: str, name: str, stream: io.IOBase, *__: Any, **___: Any) -> None:
    OBJECTS[f"{folder}/{name}"] = stream.read()


def keep(folder: pathlib.Path) -> None:
    """Writes what was sent, and what is in the buckets."""
    for number, request in enumerate(REQUESTS, 1):
        (folder / f"job-{number}.json").write_text(dataflow.CreateJobRequest.to_json(request))
    for path, data in OBJECTS.items():
        target = folder / "gs" / path.removeprefix("gs://")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def main() -> None:
    folder = pathlib.Path(sys.argv.pop(1))
    OBJECTS["gs://photos/in/cat/1.jpg"] = b"no image: nobody reads it"
    stand_in()
    status: Any = 0
    try:
        runpy.run_module("pipelines", run_name="__main__", alter_sys=True)
    except SystemExit as e:
        status = e.code
    keep(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
