"""Serves `python -m pipelines worker-pool`, which starts Python workers.

They work for the engine on this machine, without containers. An engine's process (for example Flink's TaskManager)
asks the pool for a Python process and passes the addresses to connect to; this is Beam's environment type EXTERNAL.
Each such process has its own fork server and decoders: see `pipelines/workers/pool.py`.
"""

from __future__ import annotations

import collections
import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer, kill_process_gracefully

from pipelines.core.errors import ConfigError

_log = logging.getLogger(__name__)

PATIENCE_SECONDS, POLL_SECONDS = 10.0, 0.1  # how long and how often to check whether a worker ends by itself
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Pool(BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]
    """Starts and stops workers as Beam's pool does, but with its own command.

    The command is this interpreter with this code, and its process ends with the pool. Beam's own pool starts the first
    `python` on PATH, and leaves its processes behind when it is terminated.
    """

    def __init__(self) -> None:
        super().__init__(use_process=True)
        # The processes by the engine's id of the worker. Two TaskManagers on one machine both begin with 1-1.
        self._started: dict[str, list[subprocess.Popen[bytes]]] = collections.defaultdict(list)

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        """Starts a process for `request`.

        A failure is reported to the engine.
        """
        del context
        command = [
            sys.executable,
            "-m",
            "pipelines.beam_workers.sdk_harness",
            f"--id={request.worker_id}",
            f"--parent={os.getpid()}",
        ]
        for name in ("control", "logging", "provision"):
            command.append(f"--{name}={getattr(request, f'{name}_endpoint').url}")
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            process = subprocess.Popen(  # noqa: S603 (our own code)
                command, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
            )
        except OSError as e:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"The worker pool cannot start a process: {e}")
        self._started[request.worker_id].append(process)
        _log.info("Started worker %s.", request.worker_id)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Waits for the worker to end, as it does when its engine disconnects.

        After PATIENCE_SECONDS it kills the worker, if no other process has the same id.
        """
        del context
        end = time.monotonic() + PATIENCE_SECONDS
        alive = before = _alive(self._started[request.worker_id])
        while alive and len(alive) == len(before) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            alive = _alive(before)
        if len(before) == len(alive) == 1:
            kill_process_gracefully(alive[0])
        self._started[request.worker_id] = _alive(self._started[request.worker_id])
        _log.info("Stopped worker %s.", request.worker_id)
        return beam_fn_api_pb2.StopWorkerResponse()

    def stop_all(self) -> None:
        """Ends every process that was started here."""
        for process in [process for processes in self._started.values() for process in processes]:
            kill_process_gracefully(process)


def _alive(processes: Sequence[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    return [process for process in processes if process.poll() is None]


def serve(host: str, port: int) -> None:
    """Serves until it is interrupted or terminated, and then ends all its workers.

    Raises:
      ConfigError: it cannot listen on the address.
    """
    # These threads stay: the system ends a worker with the thread, not the process, that started it (sdk_harness.py).
    server = grpc.server(ThreadPoolExecutor(8))
    pool = Pool()
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as e:
        raise ConfigError(
            f"The worker pool cannot listen on {host}:{port}: another pool may be running there. Choose another "
            "--port, and pass it to prepare as --environment_config HOST:PORT."
        ) from e
    server.start()
    _log.info("Worker pool at %s:%d. Ctrl-C ends it and its workers.", host, bound)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(1).wait()
    pool.stop_all()
