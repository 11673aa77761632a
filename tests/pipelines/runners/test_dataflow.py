"""`--runner DataflowRunner` without Google: flags and checks, package, image, and the whole request of a run."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile
import types
from collections.abc import Callable
from typing import Any

import google.auth
import pytest
from apache_beam.internal import pickler
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines import work_dir
from pipelines.cli import main as __main__
from pipelines.core import errors
from pipelines.core.errors import ConfigError
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.job import prepare, stages, worker_versions
from pipelines.records import normalize_shard
from pipelines.runners import dataflow, dataflow_request, job_server, runner

ROOT = pathlib.Path(__file__).parents[3]
CLOUD = ["--project=my-project", "--region=us-central1", "--temp_location=gs://made/temp"]
IMAGE = "us-central1-docker.pkg.dev/my-project/shardmill/workers:1"
# But for the places, the run of the fixture `prepared`.
RUN = [
    "prepare", "--input=gs://photos/in", "--output=gs://made/data", "--runner=DataflowRunner", *CLOUD,
    "--name=insects", "--size=24x32", "--balance=uniform", "--shards=2", "--max-reject-rate=0.1",
]  # fmt: skip
LOCKED = (ROOT / "requirements.txt").read_text()
BEAM = re.findall(r"^apache-beam==([\d.]+)", LOCKED, re.MULTILINE)[0]


# ---- the whole request


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Callable[..., pathlib.Path]:
    """Runs the command in a folder of its own, up to what would reach Google; the folder holds all that was sent."""

    def launch(name: str, *more: str) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(name)
        for place in ("home", "here", "temporary", "sent"):
            (folder / place).mkdir()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE", "CLOUDSDK"))},
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "temporary"),
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, ROOT / "tests/engines/dataflow_launch.py", folder / "sent", *RUN, *more],
            cwd=folder / "here",
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1  # both jobs were sent and taken; only then does it find that nobody did them
        for number in (1, 2):
            page = f"https://console.cloud.google.com/dataflow/jobs/us-central1/job-{number}?project=my-project"
            assert f"The job: {page}\n" in done.stderr, done.stderr
        return folder

    return launch


@pytest.fixture(scope="module")
def package_run(launched) -> pathlib.Path:
    """A run whose workers install the package."""
    return launched("package")


@pytest.fixture(scope="module")
def image_run(launched) -> pathlib.Path:
    """A run whose workers are of an image."""
    return launched("image", f"--sdk_container_image={IMAGE}", "--machine_type=n2-standard-8", "--disk_size_gb=80")


def jobs(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads((folder / "sent" / f"job-{number}.json").read_text()) for number in (1, 2)]


def staged(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """The files of that name that the jobs staged, of the first job first."""
    found = sorted((folder / "sent/gs/made/temp").glob(f"*/{name}"))
    assert len(found) in (0, 2)
    return found


def pipeline_of(path: pathlib.Path) -> beam_runner_api_pb2.Pipeline:
    return beam_runner_api_pb2.Pipeline.FromString(path.read_bytes())


def test_both_jobs_ask_for_what_is_documented(image_run):
    for request_ in jobs(image_run):
        assert (request_["projectId"], request_["location"]) == ("my-project", "us-central1")
        assert request_["job"]["name"] == dataflow.job_name("gs://made/data")
        environment = request_["job"]["environment"]
        [pool] = environment["workerPools"]
        assert (pool["machineType"], pool["diskSizeGb"], pool["numThreadsPerWorker"]) == ("n2-standard-8", 80, 8)
        assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [IMAGE]
        assert not pool.get("packages")
        assert {"use_runner_v2", *dataflow.EXPERIMENTS} <= set(environment["experiments"])
        assert "use_multiple_sdk_containers" not in environment["experiments"]
        sent = environment["sdkPipelineOptions"]["options"]
        assert (sent["save_main_session"], sent["pickle_library"]) == (False, "cloudpickle")
        assert not set(dataflow_request._KEPT_HERE) & set(sent)


@pytest.mark.slow
def test_without_an_image_workers_get_package_and_locked_versions(package_run):
    for request_, pipeline in zip(jobs(package_run), staged(package_run, "pipeline.pb"), strict=True):
        [pool] = request_["job"]["environment"]["workerPools"]
        assert sorted(package["name"] for package in pool["packages"]) == ["requirements.txt", "workflow.tar.gz"]
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        assert pool["workerHarnessContainerImage"].endswith(f"/beam_python{python}_sdk:{BEAM}")
        for environment in pipeline_of(pipeline).components.environments.values():
            assert environment.urn == common_urns.environments.DOCKER.urn
            for artifact in environment.dependencies:
                assert artifact.type_urn == common_urns.artifact_types.URL.urn
                url = beam_runner_api_pb2.ArtifactUrlPayload.FromString(artifact.type_payload).url
                assert url.startswith(f"gs://made/temp/{dataflow.job_name('gs://made/data')}.")
                assert (package_run / "sent/gs" / url.removeprefix("gs://")).is_file()
    for requirements in staged(package_run, "requirements.txt"):
        assert requirements.read_text() == LOCKED


def unpacked(folder: pathlib.Path) -> pathlib.Path:
    """Where the package that the first job staged lies unpacked."""
    to = folder / "unpacked"
    if not to.exists():
        with tarfile.open(staged(folder, "workflow.tar.gz")[0]) as archive:
            archive.extractall(to, filter="data")
    [root] = to.iterdir()
    return root


def looked_through(folder: pathlib.Path, package: pathlib.Path, *pipelines: pathlib.Path) -> dict[str, Any]:
    """What a process that has the package, and nothing else of the project, finds in serialized pipelines."""
    forbidden = places(folder)
    said = with_package_only("dataflow_check.py", *forbidden, package=package, read="\n".join(map(str, pipelines)))
    report: dict[str, Any] = json.loads(said)
    assert report["code"] == str(package / "pipelines/job/stages.py")
    return report["pipelines"]


def places(folder: pathlib.Path) -> list[str]:
    """Where things are on this machine: of the launch, the code, the libraries, Python's own."""
    return [str(folder), str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")]


def with_package_only(program: str, *arguments: object, package: pathlib.Path, read: str = "") -> str:
    """What a program of tests/engines says where nothing else of the project can be imported than the package."""
    done = subprocess.run(
        [sys.executable, "-s", "-P", ROOT / "tests/engines" / program, *map(str, arguments)],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT / "tests/engines")])},
        input=read,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_pickle(pipeline: pathlib.Path, to: pathlib.Path, function: object) -> pathlib.Path:
    """The pipeline with one more thing pickled in it, as Beam pickles functions."""
    message = pipeline_of(pipeline)
    message.components.transforms["injected"].spec.payload = pickler.dumps(function, use_zlib=True)
    to.write_bytes(message.SerializeToString())
    return to


@pytest.mark.slow
def test_every_pickle_loads_where_only_the_package_is_and_tells_nothing_of_this_machine(
    package_run, tmp_path, monkeypatch
):
    good = staged(package_run, "pipeline.pb")
    main = types.FunctionType((lambda: 1).__code__, {"__name__": "__main__"})
    main.__module__ = "__main__"
    missing = types.ModuleType("not_sent")
    exec("def function(): pass", vars(missing))
    monkeypatch.setitem(sys.modules, "not_sent", missing)
    bad = {
        "path": with_pickle(good[0], tmp_path / "path.pb", {"input": str(package_run / "here/photos")}),
        "main": with_pickle(good[0], tmp_path / "main.pb", main),
        "missing": with_pickle(good[0], tmp_path / "missing.pb", missing.function),
    }
    report = looked_through(package_run, unpacked(package_run), *good, *bad.values())
    for pipeline in good:
        assert report[str(pipeline)]["problems"] == []
        functions = {
            beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
            for transform in pipeline_of(pipeline).components.transforms.values()
            if transform.spec.urn == common_urns.primitives.PAR_DO.urn
        }
        functions.discard(b"")  # Beam knows a few of its own by name
        assert all(payload.startswith((b"QlpoO", b"eN")) for payload in functions)  # what is looked for
        assert report[str(pipeline)]["pickles"] >= len(functions) >= 3
    assert any("'" + str(package_run) + "'" in problem for problem in report[str(bad["path"])]["problems"])
    assert any("holds '__main__'" in problem for problem in report[str(bad["main"])]["problems"])
    assert any("No module named 'not_sent'" in problem for problem in report[str(bad["missing"])]["problems"])


@pytest.mark.slow
def test_the_staged_job_runs_where_only_the_package_is_to_the_shards_of_this_process(package_run, photos, prepared):
    """On Beam's local runner in the service's place."""
    made = package_run / "made"
    made.mkdir()
    pipeline, package = staged(package_run, "pipeline.pb")[0], unpacked(package_run)
    said = with_package_only("dataflow_run.py", pipeline, photos, made, package=package)
    assert said.splitlines()[-1] == str(package / "pipelines/workers/pool.py")
    out, result, _ = prepared
    work = made / "gs/made/data/.shardmill"
    files = {shard.file: shard.records for split in result.contract.splits.values() for shard in split.shards}
    affine = (result.contract.normalization.scale, result.contract.normalization.offset)
    for file, records in files.items():  # normalized here, as the second job would do it
        normalize_shard.finish(str(work / "staged" / file), str(made / file), records, affine, result.contract.encoding)
        assert (made / file).read_bytes() == (out / file).read_bytes()
        ledgers = [(folder / f"{file}.jsonl").read_text().splitlines() for folder in (work / "ledger", out / "ledger")]
        theirs, ours = ([{**json.loads(line), "uri": ""} for line in ledger] for ledger in ledgers)
        assert theirs == ours
    assert len(files) == 6


def test_nothing_else_of_a_request_tells_of_this_machine(package_run, image_run):
    for folder in (package_run, image_run):
        for request_ in jobs(folder):
            text = json.dumps(request_)
            assert not [name for name in ("__main__", *places(folder)) if name in text]
    for package in staged(package_run, "workflow.tar.gz"):
        with tarfile.open(package) as archive:
            for member in archive.getmembers():
                assert member.name.startswith("shardmill-")
                file = archive.extractfile(member)
                content = file.read() if file else b""
                assert not [place for place in places(package_run) if place.encode() in content]
    assert staged(image_run, "workflow.tar.gz") == []


# ---- the package and the image


def test_the_package_holds_everything_of_both_programs(package_run):
    root = unpacked(package_run)
    for folder in ("pipelines", "trainer"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".j2", ".toml"):
                assert (root / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    for name in (
        "setup.py",
        "pyproject.toml",
        "README.md",
        "requirements-read.in",
        "requirements-prepare.in",
        "requirements-train.in",
        "requirements-aws.in",
        "requirements-onnx.in",
        "requirements-heif.in",
        "requirements-mlflow.in",
        "requirements-wandb.in",
    ):
        assert (root / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_image_is_of_the_locked_versions_and_has_what_setup_reads():
    text = (ROOT / "engines/dataflow/Dockerfile").read_text()
    assert f"\nARG BEAM_VERSION={BEAM}\n" in text
    assert "\nFROM apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}\n" in text
    for name in ("requirements.txt", "requirements-pip.txt"):
        assert f"--require-hashes -r /opt/shardmill/{name}" in text
    assert '\nENTRYPOINT ["/opt/apache/beam/boot"]\n' in text
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    read = re.findall(r'"(README\.md|requirements[\w-]*\.in)"', (ROOT / "setup.py").read_text())
    assert {"setup.py", "pyproject.toml", "pipelines", "trainer", "requirements.txt", *read} <= set(copied)
    assert len(set(read)) == 9
    sent = (ROOT / "engines/dataflow/Dockerfile.dockerignore").read_text().splitlines()
    assert set(copied) == {line[1:] for line in sent if line.startswith("!")}
    assert sent[1] == "*"


# ---- versions


def test_a_worker_of_other_versions_refuses_to_work():
    made = stages.Fingerprint(lambda: pytest.fail("workers were started"), Limits(), SourcePolicy())
    made._versions = {**worker_versions.here(), "tensorflow": "2.20.0", "shardmill": "0123456789ab"}
    with pytest.raises(errors.VersionsError) as told:
        made.setup()
    ours = worker_versions.here()
    assert f"shardmill {ours['shardmill']}, not 0123456789ab" in str(told.value)
    assert f"tensorflow {ours['tensorflow']}, not 2.20.0" in str(told.value)
    assert "numpy" not in str(told.value)
    worker_versions.check(ours)
    service = RuntimeError(
        "Dataflow pipeline failed. State: FAILED, Error:\nTraceback (most recent call last):\n  File ...\n"
        f"pipelines.job.worker_versions.VersionsError: {told.value} [while running 'Fingerprint-ptransform-7']\n"
    )
    error = errors.EngineError("DataflowRunner gave up the job.")
    error.__cause__ = service
    assert __main__._told(error) == ("VersionsError", str(told.value))


def test_the_digest_of_the_code_changes_with_the_code(tmp_path, monkeypatch):
    (tmp_path / "room").mkdir()
    for name in ("top.py", "room/other.py"):
        (tmp_path / name).write_text("1\n")
    monkeypatch.setattr(worker_versions, "PACKAGE", tmp_path)
    before = worker_versions._code()
    assert re.fullmatch("[0-9a-f]{12}", before)
    assert worker_versions._code() == before
    (tmp_path / "room/other.py").write_text("2\n")
    changed = worker_versions._code()
    assert changed != before
    (tmp_path / "room/other.py").rename(tmp_path / "other.py")
    assert worker_versions._code() not in (before, changed)


def test_the_digest_of_the_code_is_of_all_rooms():
    assert len(list(worker_versions.PACKAGE.rglob("*.py"))) > 80
    assert worker_versions.PACKAGE.name == "pipelines"


# ---- flags


def test_what_is_set_and_what_the_user_gives_takes_precedence():
    flags = dataflow.complete([*CLOUD, f"--sdk_container_image={IMAGE}"], "gs://made/data")
    cloud = runner.options(flags, "DataflowRunner").get_all_options()
    assert {
        "machine_type": "n2-standard-4", "disk_size_gb": 50, "number_of_worker_harness_threads": 4,
        "sdk_container_image": IMAGE, "job_name": "shardmill-data-" + dataflow.job_name("gs://made/data")[-8:],
    }.items() <= cloud.items()  # fmt: skip
    assert set(cloud["experiments"]) == set(dataflow.EXPERIMENTS)
    assert cloud["save_main_session"] is False
    own = [
        "--worker_machine_type=e2-highmem-16", "--disk_size_gb=9", "--number_of_worker_harness_threads=3",
        "--job_name=mine", "--experiment=use_multiple_sdk_containers,other",
    ]  # fmt: skip
    cloud = runner.options(dataflow.complete([*CLOUD, *own], "gs://made/data"), "DataflowRunner").get_all_options()
    assert {
        "machine_type": "e2-highmem-16", "disk_size_gb": 9, "number_of_worker_harness_threads": 3, "job_name": "mine",
    }.items() <= cloud.items()  # fmt: skip
    assert set(cloud["experiments"]) == {"use_multiple_sdk_containers", "other", dataflow.EXPERIMENTS[1]}


def test_threads_follow_the_machine():
    assert [dataflow._cores(name) for name in ("n2-standard-4", "e2-highcpu-32", "n2-custom-6-8192", "e2-medium")] == [
        4, 32, 6, 4,
    ]  # fmt: skip


def test_jobs_are_named_after_the_output():
    name = dataflow.job_name("gs://bucket/Größe & data_1/")
    assert re.fullmatch(r"shardmill-gr-e-data-1-[0-9a-f]{8}", name)
    assert dataflow.job_name("gs://bucket/" + "x" * 90) != dataflow.job_name("gs://other/" + "x" * 90)
    assert len(dataflow.job_name("gs://bucket/" + "x" * 90)) <= 63
    assert re.fullmatch(r"shardmill-[0-9a-f]{8}", dataflow.job_name("gs://bucket/_"))


def test_a_package_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.py").write_text("")
    with pytest.raises(ConfigError, match=r"needs --sdk_container_image=IMAGE:TAG.*requirements\.txt is not there"):
        dataflow.complete([*CLOUD, "--setup_file=setup.py"])
    (tmp_path / "requirements.txt").write_text("")
    flags = dataflow.complete([*CLOUD, "--setup_file", "setup.py", "--requirements_cache=kept"])
    # Whole, since Beam changes into the file's folder; and last, where it counts.
    assert flags[-3:] == [
        f"--setup_file={tmp_path}/setup.py", f"--requirements_file={tmp_path}/requirements.txt",
        "--requirements_cache=kept",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (CLOUD[1:], "needs --project=…: the ID of the Google Cloud project"),
        (["--project=123456", *CLOUD[1:]], r"--project should be the ID of .* \(no number\). Received: '123456'"),
        ([CLOUD[0], CLOUD[2]], "needs --region=…: a region such as us-central1"),
        ([*CLOUD, "--region=us-central1-a"], "which us-central1 would be: this is a zone.* Received: 'us-central1-a'"),
        ([*CLOUD, "--region=Iowa"], "should be a region such as us-central1, .* Received: 'Iowa'"),
        (CLOUD[:2], "needs --temp_location=gs://BUCKET/PATH"),
        ([*CLOUD, "--temp_location=/tmp/x"], "--temp_location should be gs://BUCKET/PATH .*Received: '/tmp/x'"),
        ([*CLOUD, "--staging_location=gs://B!/x"], "--staging_location should be gs://BUCKET/PATH"),
        ([*CLOUD, "--job_name=My Job"], "--job_name should have 1 to 63 of the characters a-z, .*Received: 'My Job'"),
        ([*CLOUD, "--template_location=gs://b/t"], "--template_location cannot be used"),
        ([*CLOUD, "--sdk_container_image=a b:1"], "should be an image's name, such as .* Received: 'a b:1'"),
        ([*CLOUD, "--sdk_container_image=host:80/p/image"], "should end in a tag or a digest"),
        ([*CLOUD, "--disk_size_gb"], "A Beam option cannot be used"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_loaded(flags, sentence):
    with pytest.raises(ConfigError, match=sentence):
        dataflow.complete(flags)


@pytest.mark.parametrize("image", [IMAGE, "host:5000/p/image:1.0-b", f"gcr.io/a/b@sha256:{'0' * 64}", "user/image:v_1"])
def test_names_of_images_that_can_be(image):
    assert "--sdk_container_image=" + image in dataflow.complete([*CLOUD, "--sdk_container_image=" + image])


# ---- paths and buckets


def test_a_path_of_this_machine_is_refused(tmp_path, capsys):
    for source, output in (("gs://bucket/in", str(tmp_path)), ("in", "gs://b/o"), ("s3://b/in", "gs://b/o")):
        with pytest.raises(
            ConfigError, match=r"should be in a bucket, gs://BUCKET/PATH, .*do not see the files of this"
        ):
            runner.located(source, output, "DataflowRunner")
    with pytest.raises(ConfigError, match=r"--output should be gs://BUCKET/PATH .*Received: 'gs://B!/x'"):
        runner.located("gs://bucket/in", "gs://B!/x", "DataflowRunner")
    (tmp_path / "in/cat").mkdir(parents=True)
    (tmp_path / "in/cat/1.jpg").write_bytes(b"")
    argv = ["prepare", f"--input={tmp_path}/in", f"--output={tmp_path}/out", "--runner=DataflowRunner", *CLOUD]
    assert __main__.main(argv) == __main__.USAGE
    assert "error: --input should be in a bucket" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def buckets(monkeypatch) -> dict[str, bytes]:
    """Objects in buckets, and nothing of Google's behind them; an object under gs://closed/ cannot be written."""
    from pipelines import storage

    objects: dict[str, bytes] = {"gs://made/data/old": b""}

    def write(path: str, text: str) -> None:
        if path.startswith("gs://closed/"):
            raise PermissionError("403 POST: you do not have storage.objects.create access.\nMore of it.")
        objects[path] = text.encode()

    monkeypatch.setattr(storage, "write_text", write)
    monkeypatch.setattr(storage, "remove", objects.pop)
    monkeypatch.setattr(google.auth, "default", lambda: (None, "my-project"))
    dataflow._check_writable.cache_clear()
    return objects


def test_buckets_are_tried_and_left_as_they_were(buckets):
    before = dict(buckets)
    runner.check_buckets("gs://made/data", "DataflowRunner", CLOUD)
    assert buckets == before
    runner.check_buckets("none", "FlinkRunner", [])


def test_a_bucket_that_cannot_be_used_is_said(buckets):
    for flags, output, named in (
        (CLOUD, "gs://closed/data", "--output gs://closed/data"),
        ([*CLOUD, "--temp_location=gs://closed/t"], "gs://made/data", "--temp_location gs://closed/t"),
        ([*CLOUD, "--staging_location=gs://closed/s"], "gs://made/data", "--staging_location gs://closed/s"),
    ):
        with pytest.raises(
            ConfigError,
            match=rf"^{named} cannot be written to: PermissionError: 403 POST: you do not have "
            r"storage.objects.create access. The bucket should exist",
        ):
            runner.check_buckets(output, "DataflowRunner", flags)


def test_without_credentials_nothing_is_tried(buckets, monkeypatch):
    def none() -> None:
        raise google.auth.exceptions.DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(ConfigError, match=r"no Google credentials .Your default credentials were not found..*auth app"):
        runner.check_buckets("gs://closed/data", "DataflowRunner", CLOUD)
    with pytest.raises(ConfigError, match=r"--output gs://closed/data cannot be written to"):
        runner.check_buckets("gs://closed/data", "DataflowRunner", [*CLOUD, "--no_auth"])


def test_a_bucket_that_does_not_answer_is_asked_again_while_the_job_runs():
    def fails() -> bool:
        raise ConnectionError("reset")

    bucket, local = work_dir.Work("gs://b/out/.shardmill"), work_dir.Work("out/.shardmill")
    assert prepare._asked(fails, bucket, last=False) is False
    assert prepare._asked(lambda: True, bucket, last=False) is True
    for work, last in ((bucket, True), (local, False)):
        with pytest.raises(ConnectionError):
            prepare._asked(fails, work, last)


# ---- what is pickled and what the service says


def test_pickled_functions_keep_the_path_below_the_import_root(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "lib"), *sys.path])
    assert dataflow_request.below_root(str(tmp_path / "lib/package/module.py")) == os.path.join("package", "module.py")
    assert dataflow_request.below_root("/elsewhere/module.py") == "module.py"
    assert dataflow_request.below_root("<string>") == "<string>"


def test_what_the_service_says_at_the_end_is_told():
    text = "Dataflow pipeline failed. State: FAILED, Error:\nWorkflow failed. Causes: S01 failed 4 times."
    assert job_server.reason(RuntimeError(text)) == (
        "Dataflow pipeline failed. State: FAILED, Error: Workflow failed. Causes: S01 failed 4 times."
    )
