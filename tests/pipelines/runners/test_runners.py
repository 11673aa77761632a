"""Jobs on engines outside of this process: their errors, their end, and the pool of Python workers."""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import types

import apache_beam as beam
import grpc
import psutil
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from pipelines.beam_workers import external_pool
from pipelines.cli import main, options
from pipelines.core import errors
from pipelines.core.console import progress
from pipelines.runners import job_server, runner

ROOT = pathlib.Path(__file__).parents[3]


class Job:
    """A job whose run, or whose end, is an error; or that is done."""

    def __init__(self, error: BaseException | None = None):
        self.error, self.cancelled = error, False

    def run(self) -> Job:
        return self

    def wait_until_finish(self) -> None:
        if self.error:
            raise self.error

    def cancel(self) -> None:
        self.cancelled = True
        raise RuntimeError("the engine has gone")  # which does not hide why


def flink(log: str = "engine.log") -> runner.Engine:
    return runner.Engine("FlinkRunner", False, log, None, runner.options(()))


def test_who_interrupts_cancels_the_job():
    for error in (KeyboardInterrupt(), SystemExit(runner.TERMINATED)):
        job = Job(error)
        with pytest.raises(type(error)):
            flink().finish(job)
        assert job.cancelled


def test_an_engine_that_gives_up_is_a_sentence_and_not_javas_pages():
    java = RuntimeError("java.lang.IllegalStateException: lost\n\tat org.apache.flink.Some(Some.java:3)\n" * 40)
    with pytest.raises(errors.EngineError) as told:
        flink().finish(Job(java))
    assert str(told.value) == (
        "FlinkRunner gave up the job: java.lang.IllegalStateException: lost. Its log is engine.log. Run the "
        "same command again: it continues from there."
    )
    assert main._told(told.value) == ("EngineError", str(told.value))
    with pytest.raises(RuntimeError, match="lost") as own:
        flink(log="").finish(Job(java))  # in this process: as it is
    assert own.value is java


def test_an_error_of_ours_is_found_in_what_the_engine_says():
    text = (
        "java.util.concurrent.ExecutionException: Error received from SDK harness for instruction 4: Traceback\n"
        "  File ...\npipelines.core.errors.NothingUsableError: No image has a label. [while running 'ListImages']\n"
        "\tat org.apache.beam.runners.Some(Some.java:3)\n"
    )
    with pytest.raises(errors.EngineError) as told:
        flink().finish(Job(RuntimeError(text)))
    assert main._told(told.value) == ("NothingUsableError", "No image has a label.")
    assert main._failed(told.value) == errors.NothingUsableError.exit_status == 3


def test_another_error_in_a_stage_is_told_and_not_its_traceback():
    text = (
        'bundle inst003 stage-002 failed:Traceback (most recent call last):\n  File "a.py", line 3\n    a: int\n'
        "KeyError: 3\n\nDuring handling of the above exception, another exception occurred:\n\n"
        "OSError: [Errno 28] No space left on device [while running 'FinishShard']\n\n"
    )
    with pytest.raises(
        errors.EngineError, match=r"^FlinkRunner gave up the job: OSError: \[Errno 28\] No space left on "
    ):
        flink().finish(Job(RuntimeError(text)))


def test_paths_mean_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    there = runner.located("photos", "out/../made", "FlinkRunner")
    assert there == (str(tmp_path / "photos"), str(tmp_path / "made"))
    assert runner.located("photos", "out/../made", "DirectRunner") == ("photos", "out/../made")
    assert runner.located("gs://b/in", ".", "FlinkRunner") == ("gs://b/in", str(tmp_path))


def test_what_the_job_server_says_goes_to_a_file_and_nothing_else_does(caplog):
    root = logging.getLogger()
    with job_server.log_file() as log:
        record = root.makeRecord("root", logging.ERROR, "portable_runner.py", 1, "%s", ("pages of Java",), None)
        root.handle(record)
        logging.getLogger("FlinkJarJobServer").info("from its output")
        logging.getLogger().warning("ours")
        logging.getLogger("pipelines.x").warning("ours too")
    logging.getLogger("FlinkJarJobServer").warning("after")
    assert pathlib.Path(log).read_text() == "pages of Java\nfrom its output\n"
    assert [r.getMessage() for r in caplog.records] == ["ours", "ours too", "after"]
    os.unlink(log)


def test_sigterm_ends_the_body_like_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, runner._terminable():
        signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_shards_are_counted_where_images_are_not():
    assert progress._shards_line(0, 0) == "reading"
    assert progress._shards_line(3, 1200) == "preparing: 3 of 1,200 shards"


def test_the_pool_is_where_prepare_lets_engines_look():
    from pipelines.runners import portable

    args, _ = options.parse(["worker-pool"])
    assert f"{args.host}:{args.port}" == portable.POOL


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers end with the engine")
def test_workers_of_the_pool_are_this_interpreter_and_end_with_it(tmp_path):
    """Also when the pool is killed and can do nothing about it any more."""
    pool = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "worker-pool", "--port=0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with socket.create_server(("localhost", 0)) as silent:  # an engine that says nothing: workers wait for it
        try:
            assert pool.stdout is not None
            address = pool.stdout.readline().split("Worker pool at ")[1].split(". ")[0]
            assert address.startswith("localhost:")
            url = f"localhost:{silent.getsockname()[1]}"
            with grpc.insecure_channel(address) as channel:
                stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
                for name in ("1-1", "2-1"):
                    request = beam_fn_api_pb2.StartWorkerRequest(worker_id=name)
                    for endpoint in ("control", "logging", "provision"):
                        getattr(request, f"{endpoint}_endpoint").url = url
                    assert not stub.StartWorker(request).error
                workers = {w.cmdline()[3]: w for w in psutil.Process(pool.pid).children() if "--id" in w.cmdline()[3]}
                assert set(workers) == {"--id=1-1", "--id=2-1"}
                assert {w.cmdline()[0] for w in workers.values()} == {sys.executable}
                stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"))
            assert not workers["--id=1-1"].is_running()
            silent.accept()  # the other has started: it asks for the job's options
            assert workers["--id=2-1"].is_running()
        finally:
            pool.kill()
            pool.wait()
        gone, alive = psutil.wait_procs(list(workers.values()), timeout=10)
        assert len(gone) == 2, alive


def test_the_pool_stops_no_worker_of_another_engine_with_the_same_number(monkeypatch):
    """Two TaskManagers of one machine: the one that has hung up lets go of its worker, and the other's lives on."""
    pool = external_pool.Pool()
    monkeypatch.setattr(external_pool, "PATIENCE_SECONDS", 0.3)
    sleeping, ended = (subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({n})"]) for n in (60, 0))
    ended.wait()
    pool._started["1-1"] += [ended, sleeping]
    another = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pool._started["1-1"].append(another)
    request = argparse.Namespace(worker_id="1-1")
    pool.StopWorker(request, None)  # of two that live it cannot tell which one is meant
    assert (sleeping.poll(), another.poll()) == (None, None)
    another.kill()
    another.wait()
    pool.StopWorker(request, None)  # the only one
    assert sleeping.wait(30) != 0
    assert pool._started["1-1"] == []


def test_a_job_has_no_temporary_folder(tmp_path, monkeypatch):
    """A killed program could not remove it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runner.empty_job(runner.runner("DirectRunner")[0], runner.options(()))
    assert list(tmp_path.iterdir()) == []


def test_labels_are_the_same_inside_ipython(monkeypatch):
    """Beam would put a cell's number before them, with a module that cannot be imported with pandas 3."""
    shell = types.SimpleNamespace(execution_count=7, config={})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    job = runner.empty_job(runner.runner("DirectRunner")[0], runner.options(()))
    rows = job | "Rows" >> beam.Create([1])
    (rows, rows) | "Both" >> beam.Flatten()
    [rows, rows] | "Again" >> beam.Flatten()
    {"rows": rows} | "Grouped" >> beam.CoGroupByKey()
    assert {"Rows", "Both", "Again", "Grouped"} <= job.applied_labels
