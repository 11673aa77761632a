"""A standalone Flink session cluster on loopback: one JobManager, TaskManagers, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from runs import TestFailedError, say

SLOTS = 2  # of a TaskManager: one alone can hold a job of parallelism 2
OPENED = ("java.lang", "java.lang.invoke", "java.net", "java.nio", "java.text", "java.time", "java.util")
START_SECONDS = 600  # on a machine with other work too


def configuration(folder: pathlib.Path, rpc: int, rest: int) -> dict[str, Any]:
    """config.yaml: everything on loopback, small, and a job that is started again when a TaskManager is lost."""
    return {
        "jobmanager.rpc.address": "localhost",
        "jobmanager.rpc.port": rpc,
        "jobmanager.bind-host": "localhost",
        "rest.address": "localhost",
        "rest.bind-address": "localhost",
        "rest.port": rest,
        "taskmanager.host": "localhost",
        "taskmanager.bind-host": "localhost",
        "taskmanager.numberOfTaskSlots": SLOTS,
        "taskmanager.load-balance.mode": "SLOTS",  # tasks on both TaskManagers, so that the loss of either hurts
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.heap.size": "384m",
        "taskmanager.memory.task.off-heap.size": "128m",
        "taskmanager.memory.managed.size": "128m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
        # Each of the job's many shuffles asks for so many buffers of 32 kB; the default, 512, is for terabytes.
        "taskmanager.network.sort-shuffle.min-buffers": 64,
        "taskmanager.memory.network.min": "160m",
        "taskmanager.memory.network.max": "160m",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 5,
        "restart-strategy.fixed-delay.delay": "2 s",
        "heartbeat.timeout": 120000,
        "pekko.ask.timeout": "120 s",  # a busy machine is no failure
        "web.timeout": 120000,
        "io.tmp.dirs": str(folder / "tmp"),
    }


class Cluster:
    """The cluster's processes, and what its REST interface says."""

    def __init__(self, libraries: pathlib.Path, folder: pathlib.Path, environment: Mapping[str, str]):
        """`libraries` holds the jars of Flink's distribution; `folder`, a new one, gets configuration and logs."""
        self._libraries, self._folder, self._environment = (
            libraries,
            folder,
            {**environment, "FLINK_CONF_DIR": str(folder)},
        )
        self.rest = _free_port()
        folder.mkdir()
        (folder / "tmp").mkdir()
        values = configuration(folder, _free_port(), self.rest)
        (folder / "config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in values.items()))
        (folder / "log4j.properties").write_text(
            "rootLogger.level = INFO\nrootLogger.appenderRef.console.ref = Console\nappender.console.name = Console\n"
            "appender.console.type = CONSOLE\nappender.console.layout.type = PatternLayout\n"
            "appender.console.layout.pattern = %d %-5p %c{1} %m%n\n"
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, task_managers: int) -> None:
        """Starts everything; returns when all slots are there."""
        self._java("jobmanager", "-Xmx600m", "runtime.entrypoint.StandaloneSessionClusterEntrypoint")
        for number in range(1, task_managers + 1):
            name = f"taskmanager-{number}"
            identity = ("-D", f"taskmanager.resource-id={name}")
            self._java(name, "-Xmx512m", "runtime.taskexecutor.TaskManagerRunner", *identity)
        until = time.monotonic() + START_SECONDS
        while self.overview().get("slots-total") != task_managers * SLOTS:
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            if dead or time.monotonic() > until:
                told = "\n".join(f"{name}:\n{self.complaints(name)}" for name in dead or self._processes)
                raise TestFailedError(f"The Flink cluster did not come up ({'ended' if dead else 'too slow'}):\n{told}")
            time.sleep(0.5)
        say(f"Flink {self.overview()['flink-version']} session cluster: 1 JobManager, {task_managers} TaskManagers.")

    def _java(self, name: str, heap: str, main: str, *arguments: str) -> None:
        command = [
            "java",
            heap,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # it lives for a minute
            "-XX:MaxMetaspaceSize=256m",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
            "-Dpekko.remote.classic.startup-timeout=300s",  # 10 s, and Flink has no option for it
            f"-Dlog4j.configurationFile={self._folder / 'log4j.properties'}",
            "-cp",
            f"{self._libraries}/*",
            f"org.apache.flink.{main}",
            "--configDir",
            str(self._folder),
            *arguments,
        ]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """Ends a process at once, as a machine's failure would."""
        self._processes[name].kill()
        self._processes[name].wait()

    def complaints(self, name: str) -> str:
        """The errors that a process has told, without Java's pages."""
        lines = (self._folder / f"{name}.log").read_text(errors="replace").splitlines()
        told = [line for line in lines if re.search(r" (ERROR|FATAL) |Exception|Error:", line)]
        return "\n".join(told[:20] or lines[-5:])

    def get(self, path: str) -> dict[str, Any]:
        """An answer of the REST interface; {} where there is none."""
        try:
            with urllib.request.urlopen(f"http://localhost:{self.rest}{path}", timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError):
            return {}

    def overview(self) -> dict[str, Any]:
        """TaskManagers, slots, jobs and the version."""
        return self.get("/overview")

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs, oldest first: each with "jid", "state"."""
        found = self.get("/jobs/overview").get("jobs", [])
        return sorted(found, key=lambda job: job["start-time"])

    def at_work(self, job: str) -> dict[str, int]:
        """TaskManager -> how many running tasks of the job it holds."""
        counts: dict[str, int] = {}
        for vertex in self.get(f"/jobs/{job}").get("vertices", []):
            for manager in self.get(f"/jobs/{job}/vertices/{vertex['id']}/taskmanagers").get("taskmanagers", []):
                name = manager.get("taskmanager-id", "")
                counts[name] = counts.get(name, 0) + manager.get("status-counts", {}).get("RUNNING", 0)
        return {name: count for name, count in counts.items() if count}

    def stop(self) -> None:
        """Ends all processes."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def running(
    libraries: pathlib.Path, folder: pathlib.Path, environment: Mapping[str, str], task_managers: int
) -> Iterator[Cluster]:
    """A cluster that is there while the body runs."""
    cluster = Cluster(libraries, folder, environment)
    try:
        cluster.start(task_managers)
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return int(s.getsockname()[1])
