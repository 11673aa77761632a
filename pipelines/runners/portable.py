"""Completes and checks the flags of FlinkRunner, SparkRunner and PrismRunner.

`complete` adds the flags that make `--runner NAME` sufficient, and reports what is missing before anything heavy is
loaded. Nothing is downloaded here; Beam's own runners would download silently.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from pipelines.core import machine
from pipelines.core.errors import ConfigError
from pipelines.core.files.urls import is_remote
from pipelines.runners.beam_flags import Flags

LOCAL = ("DirectRunner", "FnApiRunner", "InProcess")  # names of Beam's runner in this process
BUILT = pathlib.Path(__file__).resolve().parents[2] / "build" / "engines"  # output of `make flink` and others
POOL = "localhost:50000"  # where an engine's process looks for the worker pool of its machine
# More parallel tasks than this exhaust the network buffers (64 MB) of the Flink that the job server starts.
MOST_LOCAL = 8
SUPPLIED = 8  # workers that one process supplies with photographs of 50 kB (benchmarks/null_decoding.py)
HEAP = "-Xmx2g"  # heap of the job server, which contains the complete engine where it is local
# Packages that Kryo and Spark access by reflection, and that Java 17 closes.
OPENED = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.lang.invoke", "java.nio", "java.time", "java.util", "sun.nio.ch")
)
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
_NAMES = (
    "job_endpoint", "environment_type", "environment_config", "parallelism", "flink_master", "flink_job_server_jar",
    "spark_master_url", "spark_job_server_jar", "prism_location", "direct_running_mode", "job_server_java_launcher",
)  # fmt: skip


def complete(runner: str, flags: Sequence[str]) -> list[str]:
    """Returns `flags` and the flags that the engine needs in addition.

    Flags that the user gave always stay.

    Raises:
      ConfigError: something that the engine needs is missing or cannot be reached; the message says what to do.
    """
    given = Flags(flags, _NAMES)
    if runner not in _COMPLETED:
        return list(flags)
    if given["job_endpoint"] not in (None, "embed"):
        _check_reachable(str(given["job_endpoint"]), "--job_endpoint", "Start the job server first.")
        return list(flags)
    return [*_COMPLETED[runner](given), *flags]  # where an option is given twice, the last one counts


def counts_here(runner: str, flags: Sequence[str]) -> bool:
    """Returns whether the stages are executed in this process.

    If so, this process knows what they count.
    """
    given = Flags(flags, _NAMES)
    if runner in LOCAL:
        return bool(given["direct_running_mode"] != "multi_processing")
    return bool(given["environment_type"] == "LOOPBACK")


def wide(runner: str, flags: Sequence[str], workers: int) -> str:
    """Returns what to do where one process has more busy workers than it can supply.

    It is a sentence, and empty where nothing is to be done.

    Args:
      workers: the number of worker processes. No more of them than there are cores are busy: the others wait for a
        remote store.
    """
    busy = min(workers, machine.cores())
    if runner not in LOCAL or not counts_here(runner, flags) or busy <= SUPPLIED:
        return ""
    return (
        f"One process supplies about {SUPPLIED} workers with small photographs, and {busy} can be busy here. If cores "
        f"are idle, add --direct_running_mode multi_processing --direct_num_workers {-(-busy // SUPPLIED)} "
        f"--workers {SUPPLIED}."
    )


def _flink(given: Flags) -> list[str]:
    jar = _jar(given, "flink")
    added = given.lacking(flink_job_server_jar=jar) + _java(given)
    master = str(given["flink_master"] or "[local]")
    if master in ("[local]", "[auto]"):
        slots = str(min(machine.cores(), MOST_LOCAL))
        return added + given.lacking(flink_master="[local]", environment_type="LOOPBACK", parallelism=slots)
    cluster = _flink_cluster(master, jar)
    added += given.lacking(parallelism=str(cluster["slots-total"]))
    return added + _external(given, urllib.parse.urlsplit(_with_scheme(master)).hostname)


def _spark(given: Flags) -> list[str]:
    added = given.lacking(spark_job_server_jar=_jar(given, "spark")) + _java(given)
    master = str(given["spark_master_url"] or "local")
    if master.startswith("local"):
        return added + given.lacking(spark_master_url=f"local[{machine.cores()}]", environment_type="LOOPBACK")
    url = urllib.parse.urlsplit(master)
    if url.scheme != "spark" or not url.port:
        raise ConfigError(f"--spark_master_url should be local[N] or spark://HOST:PORT. Received: {master!r}")
    _check_reachable(f"{url.hostname}:{url.port}", "--spark_master_url", "Start the Spark master first.")
    return added + _external(given, url.hostname)


def _prism(given: Flags) -> list[str]:
    location = given["prism_location"]
    if location is None:
        version = metadata.version("apache-beam")
        # Beam's cache of downloads. A user without a home has none, and "~" would be a folder in the current one.
        kept = pathlib.Path(os.path.expanduser("~"), ".apache_beam/cache/prism/bin")
        found = [
            BUILT / "prism",
            *sorted(kept.glob(f"apache_beam-v{version}-prism-*.zip") if kept.is_absolute() else ()),
        ]
        location = next((str(path) for path in found if path.exists()), None)
        if location is None:
            raise ConfigError(
                f"--runner PrismRunner needs the Prism program of Beam {version}, and {BUILT / 'prism'} is not there. "
                "Build it with `make prism` (needs Go), or name one with --prism_location=PATH."
            )
    elif not is_remote(location) and not os.path.exists(location):
        raise ConfigError(f"--prism_location {location!r} is not there. `make prism` builds one (needs Go).")
    return given.lacking(prism_location=location, environment_type="LOOPBACK")


_COMPLETED: dict[str, Callable[[Flags], list[str]]] = {
    "FlinkRunner": _flink,
    "SparkRunner": _spark,
    "PrismRunner": _prism,
}


def _jar(given: Flags, engine: str) -> str:
    """Returns the path of the job server's jar, as given or as built by `make`."""
    jar = given[f"{engine}_job_server_jar"]
    if jar is None:
        jar = str(BUILT / f"{engine}-job-server.jar")
        if not os.path.exists(jar):
            raise ConfigError(
                f"--runner {engine.capitalize()}Runner needs Beam's job server for {engine.capitalize()}, and {jar} "
                f"is not there. Build it with `make {engine}` (needs Java and Maven), or name one with "
                f"--{engine}_job_server_jar=PATH or --job_endpoint=HOST:PORT."
            )
    elif not is_remote(jar) and not os.path.exists(jar):
        raise ConfigError(f"--{engine}_job_server_jar {jar!r} is not there. `make {engine}` builds one.")
    return str(jar)


def _java(given: Flags) -> list[str]:
    """Returns the flags for the Java process of the job server.

    They limit its memory, and end it with this program, in whatever way the program ends (Linux).
    """
    launcher = given["job_server_java_launcher"] or "java"
    if not shutil.which(launcher):
        raise ConfigError(
            f"{launcher!r} is not there: the job server needs Java 11 or 17 on PATH, or "
            "--job_server_java_launcher=/path/to/java."
        )
    properties = [HEAP, *OPENED]
    bound = given["job_server_java_launcher"] is None and shutil.which("setpriv")
    if bound:  # Beam puts the properties first. With setpriv, the system ends Java when this process ends.
        properties[:0] = ["--pdeathsig=KILL", launcher]
    added = ["--job_server_java_launcher=setpriv"] if bound else []
    return added + [f"--job_server_jvm_properties={value}" for value in properties]


def _external(given: Flags, host: str | None) -> list[str]:
    """Returns the flags for Python workers of the engine's processes.

    Each process finds its workers on its own machine.
    """
    kind = given["environment_type"]
    if kind not in (None, "EXTERNAL"):
        return []
    pool = str(given["environment_config"] or POOL)
    if host in _LOOPBACK and pool.rpartition(":")[0] in _LOOPBACK:
        _check_reachable(
            pool,
            "the worker pool",
            "Start `python -m pipelines worker-pool` on every machine that does the engine's work; another address is "
            "named with --environment_config=HOST:PORT.",
        )
    return given.lacking(environment_type="EXTERNAL", environment_config=pool)


def _flink_cluster(master: str, jar: str) -> dict[str, Any]:
    """Returns the overview that the cluster's JobManager gives of itself.

    Raises:
      ConfigError: it does not answer, has no slots, or has another version of Flink than the job server.
    """
    url = _with_scheme(master).rstrip("/") + "/overview"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (the address that the user gave)
            overview: dict[str, Any] = json.load(answer)
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", e)
        raise ConfigError(
            f"--flink_master {master}: no JobManager answers at {url} ({reason}). Give its REST address, HOST:8081 "
            "usually, or leave the option out to run Flink on this machine."
        ) from e
    if not overview.get("slots-total"):
        raise ConfigError(f"--flink_master {master} has no TaskManager with a slot. Start one first.")
    theirs, ours = str(overview.get("flink-version", "")), _flink_of(jar)
    if ours and theirs and _series(ours) != _series(theirs):
        raise ConfigError(
            f"--flink_master {master} runs Flink {theirs}, and the job server {jar} is made for {_series(ours)}. "
            "Use a cluster or a job server of the other's version."
        )
    return overview


def _flink_of(jar: str) -> str:
    """Returns the version of Flink that a job server was built with.

    It is "" where the jar does not state it.
    """
    try:
        with zipfile.ZipFile(jar) as archive:
            text = archive.read("META-INF/maven/org.apache.flink/flink-clients/pom.properties").decode()
    except (OSError, KeyError, zipfile.BadZipFile):
        return ""
    found = re.search(r"^version=(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _with_scheme(master: str) -> str:
    return master if re.match("https?://", master) else f"http://{master}"


def _check_reachable(address: str, what: str, remedy: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except ValueError as e:
        raise ConfigError(f"{what} should be HOST:PORT. Received: {address!r}") from e
    except OSError as e:
        raise ConfigError(f"Nothing answers at {address} ({what}): {e.strerror or e}. {remedy}") from e
