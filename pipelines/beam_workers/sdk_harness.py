"""Starts Beam's SDK harness as one Python worker of an engine.

The worker pool starts this program and passes the addresses to connect to.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence

from pipelines.core.console import terminal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: Sequence[str] | None = None) -> None:
    """Executes the harness until the engine has no more work for it."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.beam_workers.sdk_harness")
    for name in ("id", "control", "logging", "provision"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parent", required=True, type=int, help="the process of the pool")
    args = parser.parse_args(argv)
    _end_with(args.parent)
    terminal.set_up()
    os.environ["WORKER_ID"] = args.id
    os.environ["CONTROL_API_SERVICE_DESCRIPTOR"] = f'url: "{args.control}"'
    os.environ["LOGGING_API_SERVICE_DESCRIPTOR"] = f'url: "{args.logging}"'
    os.environ["PIPELINE_OPTIONS"] = _pipeline_options(args.provision, args.id)
    with terminal.quick_imports():
        from apache_beam.runners.worker import sdk_worker_main

        from pipelines.job import stages  # noqa: F401 (before the first bundle waits for it)
    sdk_worker_main.main(sys.argv)


def _end_with(parent: int) -> None:
    """Makes the system kill this process when the pool ends, in whatever way it ends.

    This works on Linux. On other systems the process ends with its engine.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the pool has ended already
            sys.exit("The worker pool has ended.")


def _pipeline_options(endpoint: str, worker_id: str) -> str:
    """Returns the job's options as JSON.

    Beam's file systems take their settings from them.
    """
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
    from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
    from google.protobuf import json_format

    with grpc.insecure_channel(endpoint) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(worker_id))
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(named)
        answer = service.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), timeout=60)
    return json.dumps(json_format.MessageToDict(answer.info.pipeline_options))


if __name__ == "__main__":
    main()
