"""What other engines need: the flags that are added, and the sentence for each thing that is missing."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import pwd
import socket
import threading
import zipfile
from collections.abc import Iterator

import pytest

from pipelines.core import machine
from pipelines.core.errors import ConfigError
from pipelines.runners import portable


@pytest.fixture
def built(tmp_path, monkeypatch) -> pathlib.Path:
    """The folder where engines are looked for, with everything in it; Java is on PATH, setpriv is not."""
    folder = tmp_path / "engines"
    folder.mkdir()
    (folder / "prism").write_bytes(b"")
    _job_server(folder / "flink-job-server.jar", "1.19.0")
    _job_server(folder / "spark-job-server.jar", "")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "java").write_text("#!/bin/sh\n")
    (programs / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(portable, "BUILT", folder)
    monkeypatch.setattr(portable.machine, "cores", lambda: 3)
    return folder


def _job_server(path: pathlib.Path, flink: str) -> None:
    with zipfile.ZipFile(path, "w") as jar:
        if flink:
            jar.writestr(
                "META-INF/maven/org.apache.flink/flink-clients/pom.properties", f"artifactId=x\nversion={flink}\n"
            )


@contextlib.contextmanager
def job_manager(**overview: object) -> Iterator[str]:
    """HOST:PORT of something that answers /overview as Flink's REST interface does."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/overview" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(overview).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def listener() -> Iterator[str]:
    with socket.create_server(("localhost", 0)) as s:
        yield f"localhost:{s.getsockname()[1]}"


def nobody() -> str:
    """An address where nothing listens."""
    with listener() as address:
        return address


def without_java(flags: list[str]) -> list[str]:
    return [flag for flag in flags if not flag.startswith("--job_server_")]


def test_a_local_flink_needs_no_flags(built):
    flags = portable.complete("FlinkRunner", [])
    assert set(without_java(flags)) == {
        f"--flink_job_server_jar={built}/flink-job-server.jar",
        "--environment_type=LOOPBACK",
        "--parallelism=3",
        "--flink_master=[local]",
    }
    assert "--job_server_jvm_properties=-Xmx2g" in flags
    assert portable.counts_here("FlinkRunner", flags)


def test_java_ends_with_this_program_where_the_system_can_see_to_it(built):
    launcher = built.parent / "bin/setpriv"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    flags = portable.complete("SparkRunner", ["--job_server_jvm_properties=-Xmx9g"])
    properties = [flag.partition("=")[2] for flag in flags if flag.startswith("--job_server_jvm_properties")]
    assert "--job_server_java_launcher=setpriv" in flags
    assert properties[:3] == ["--pdeathsig=KILL", "java", "-Xmx2g"]
    assert properties[-1] == "-Xmx9g"  # what the user says comes last, and counts


def test_a_cluster_gives_the_parallelism_and_workers_come_of_the_pool(built):
    with listener() as pool, job_manager(**{"slots-total": 7, "flink-version": "1.19.3"}) as master:
        flags = portable.complete("FlinkRunner", [f"--flink_master={master}", f"--environment_config={pool}"])
    assert set(without_java(flags)) == {
        f"--flink_job_server_jar={built}/flink-job-server.jar",
        f"--flink_master={master}",
        f"--environment_config={pool}",
        "--environment_type=EXTERNAL",
        "--parallelism=7",
    }
    assert not portable.counts_here("FlinkRunner", flags)


def test_what_the_user_says_of_a_cluster_stays(built):
    given = ["--parallelism=2", "--environment_type=DOCKER", "--environment_config=image"]
    with job_manager(**{"slots-total": 7, "flink-version": "1.19.3"}) as master:
        flags = portable.complete("FlinkRunner", [*given, f"--flink_master=http://{master}/"])
    assert without_java(flags)[1:] == [*given, f"--flink_master=http://{master}/"]


def test_what_a_cluster_lacks_is_said(built):
    where = nobody()
    with pytest.raises(ConfigError, match=rf"no JobManager answers at http://{where}/overview \(.*refused"):
        portable.complete("FlinkRunner", [f"--flink_master={where}"])
    with (
        job_manager(**{"slots-total": 0, "flink-version": "1.19.3"}) as master,
        pytest.raises(ConfigError, match="has no TaskManager with a slot"),
    ):
        portable.complete("FlinkRunner", [f"--flink_master={master}"])
    with (
        job_manager(**{"slots-total": 1, "flink-version": "2.0.1"}) as master,
        pytest.raises(ConfigError, match=r"runs Flink 2\.0\.1, and the job server .* is made for 1\.19\."),
    ):
        portable.complete("FlinkRunner", [f"--flink_master={master}"])
    with (
        job_manager(**{"slots-total": 1, "flink-version": "1.19.1"}) as master,
        pytest.raises(ConfigError, match=rf"Nothing answers at {where} .*Start `python -m pipelines worker-pool`"),
    ):
        portable.complete("FlinkRunner", [f"--flink_master={master}", f"--environment_config={where}"])


@pytest.mark.parametrize(
    ("runner", "flags", "sentence"),
    [
        ("FlinkRunner", [], "needs Beam's job server for Flink, and .*flink-job-server.jar is not there"),
        ("FlinkRunner", ["--flink_job_server_jar=/no/x.jar"], "--flink_job_server_jar '/no/x.jar' is not there"),
        ("FlinkRunner", [], "Build it with `make flink` .needs Java and Maven., or name one"),
        ("SparkRunner", [], "Build it with `make spark`"),
        ("PrismRunner", [], "needs the Prism program of Beam .* Build it with `make prism`"),
        ("PrismRunner", ["--prism_location=/no/prism"], "--prism_location '/no/prism' is not there"),
    ],
)  # fmt: skip
def test_what_is_not_built_is_said(built, runner, flags, sentence):
    for path in built.iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=sentence):
        portable.complete(runner, flags)


def test_without_java_a_sentence(built):
    (built.parent / "bin/java").unlink()
    for runner in ("FlinkRunner", "SparkRunner"):
        with pytest.raises(ConfigError, match="'java' is not there: the job server needs Java 11 or 17"):
            portable.complete(runner, [])


def test_a_spark_master_is_checked(built):
    flags = portable.complete("SparkRunner", [])
    assert set(without_java(flags)) == {
        f"--spark_job_server_jar={built}/spark-job-server.jar",
        "--spark_master_url=local[3]",
        "--environment_type=LOOPBACK",
    }
    with pytest.raises(ConfigError, match=r"should be local\[N\] or spark://HOST:PORT. Received: 'yarn'"):
        portable.complete("SparkRunner", ["--spark_master_url=yarn"])
    with pytest.raises(ConfigError, match=r"Nothing answers at localhost:.*--spark_master_url"):
        portable.complete("SparkRunner", [f"--spark_master_url=spark://{nobody()}"])


def test_without_a_home_no_folder_of_that_name_is_searched_for_prism(built, tmp_path, monkeypatch):
    (built / "prism").unlink()
    cache = tmp_path / "here/~/.apache_beam/cache/prism/bin"
    cache.mkdir(parents=True)
    (cache / f"apache_beam-v{portable.metadata.version('apache-beam')}-prism-linux-amd64.zip").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}[0])
    with pytest.raises(ConfigError, match="make prism"):
        portable.complete("PrismRunner", [])


def test_prism_is_taken_from_beams_own_cache_too(built, tmp_path):
    assert portable.complete("PrismRunner", []) == [f"--prism_location={built}/prism", "--environment_type=LOOPBACK"]
    (built / "prism").unlink()
    cache = tmp_path / ".apache_beam/cache/prism/bin"
    cache.mkdir(parents=True)
    (cache / "apache_beam-v0.1-prism-linux-amd64.zip").write_bytes(b"")  # of another Beam: not used
    with pytest.raises(ConfigError, match="make prism"):
        portable.complete("PrismRunner", [])
    kept = cache / f"apache_beam-v{portable.metadata.version('apache-beam')}-prism-linux-amd64.zip"
    kept.write_bytes(b"")
    assert portable.complete("PrismRunner", [])[0] == f"--prism_location={kept}"


def test_a_job_server_of_the_users_own_needs_nothing_else(built):
    with listener() as address:
        assert portable.complete("FlinkRunner", [f"--job_endpoint={address}"]) == [f"--job_endpoint={address}"]
    with pytest.raises(ConfigError, match=r"Nothing answers at .* \(--job_endpoint\)"):
        portable.complete("FlinkRunner", [f"--job_endpoint={nobody()}"])
    with pytest.raises(ConfigError, match=r"--job_endpoint should be HOST:PORT. Received: 'there'"):
        portable.complete("FlinkRunner", ["--job_endpoint=there"])


def test_other_runners_flags_are_left_alone():
    flags = ["--direct_num_workers=2", "--unknown"]
    assert portable.complete("DirectRunner", flags) == flags
    assert portable.counts_here("DirectRunner", flags)
    assert not portable.counts_here("DirectRunner", ["--direct_running_mode=multi_processing"])
    assert not portable.counts_here("DataflowRunner", [])


@pytest.mark.parametrize(
    ("runner", "flags", "workers", "expected"),
    [
        ("DirectRunner", [], 8, ""),
        ("DirectRunner", [], 9, "--direct_num_workers 2 --workers 8."),
        ("DirectRunner", ["--direct_running_mode=multi_threading"], 32, "--direct_num_workers 4 --workers 8."),
        ("DirectRunner", ["--direct_running_mode", "multi_processing"], 32, ""),
        ("PrismRunner", [], 32, ""),
    ],
)
def test_one_process_with_many_workers_is_told_of_several(monkeypatch, runner, flags, workers, expected):
    monkeypatch.setattr(machine, "cores", lambda: 32)
    advice = portable.wide(runner, flags, workers)
    assert advice.endswith(expected)
    assert bool(advice) == bool(expected)


def test_workers_that_wait_for_a_store_are_no_reason_for_more_processes(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert portable.wide("DirectRunner", [], 128) == ""
