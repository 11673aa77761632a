"""Object stores through the emulators: every operation, every kind of name, and every fault as a sentence."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys

import pytest

from pipelines import storage
from pipelines.core.errors import StoreError
from pipelines.storage import StorageError, object_stores, remote
from tests.support import object_stores as store_fixtures

NAMES = ["a", "näme", "st*r[1]?", "per%20cent", "hash#mark", "white space", "plus+and&"]


@pytest.fixture(scope="module", params=["s3", "gs"])
def store(request):
    """The scheme of an emulated store that this process reaches."""
    with {"s3": store_fixtures.s3, "gs": store_fixtures.gcs}[request.param]():
        yield request.param


@pytest.fixture
def place(store, request):
    """A folder of its own in the bucket."""
    return f"{store}://{store_fixtures.BUCKET}/{request.node.originalname}"


@pytest.mark.parametrize("content", [b"", b"12345", bytes(range(256)) * 40_000], ids=["empty", "small", "10 MB"])
def test_what_is_written_is_read(place, content):
    path = storage.join(place, str(len(content)))

    with storage.writing(path) as file:
        file.write(content)

    assert storage.read_input(path, len(content)) == content
    if content:
        with pytest.raises(StorageError, match=r"More than \d+ bytes \(--max-file-bytes\)") as raised:
            storage.read_input(path, len(content) - 1)
        assert raised.value.reason == "too-large"
    with storage.reading(path) as file:
        assert file.read(3) == content[:3]
        assert file.read() == content[3:]
    assert storage.sha256(path) == hashlib.sha256(content).hexdigest()


def test_names_of_all_kinds(place):
    for name in NAMES:
        storage.write_text(storage.join(place, "folder", name), name)

    assert storage.children(storage.join(place, "folder")) == sorted(NAMES)
    for name in NAMES:
        path = storage.join(place, "folder", name)
        assert storage.read_text(path) == name
        storage.remove(path)
        assert not storage.exists(path)
    assert storage.is_empty(place)


def test_trees(place):
    for name in ("t/a", "t/x/b", "t/x/y/c", "tt/d", "e"):
        storage.write_text(storage.join(place, name), name)

    assert storage.children(place) == ["e", "t", "tt"]
    assert storage.files_below(place) == ["e", "t/a", "t/x/b", "t/x/y/c", "tt/d"]
    assert storage.files_below(place, "t/x") == ["t/x/b", "t/x/y/c"]
    assert storage.children(storage.join(place, "absent")) == []
    storage.move_tree(storage.join(place, "t"), storage.join(place, "u"))
    storage.move_tree(storage.join(place, "e"), storage.join(place, "f"))
    assert storage.files_below(place) == ["f", "tt/d", "u/a", "u/x/b", "u/x/y/c"]
    assert storage.read_text(storage.join(place, "u/x/b")) == "t/x/b"
    storage.remove(storage.join(place, "u"))
    storage.remove(storage.join(place, "absent"))
    storage.remove_children(place, ["f", "absent"])
    assert storage.files_below(place) == ["tt/d"]


def test_copies_and_moves_replace(place):
    a, b, c, d = (storage.join(place, name) for name in "abcd")
    for path in (a, b, d):
        storage.write_text(path, path)

    storage.copy(a, b)
    storage.move([(b, c), (a, d)])

    assert storage.children(place) == ["c", "d"]
    assert storage.read_text(c) == storage.read_text(d) == a


def test_writing_that_fails_leaves_what_was(place):
    path = storage.join(place, "a")
    storage.write_text(path, "old")

    def fails():
        with storage.writing(path) as file:
            file.write(b"half" * (9 << 20))  # more than what is held in memory
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()

    assert storage.read_text(path) == "old"
    assert storage.children(place) == ["a"]


def test_a_folder_of_files_goes_there(place, tmp_path):
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "x/y/a").write_bytes(b"1")
    (tmp_path / "empty").touch()

    storage.put_tree(str(tmp_path), place)

    assert storage.files_below(place) == ["empty", "x/y/a"]
    assert storage.read_text(storage.join(place, "x/y/a")) == "1"


def test_what_is_missing_is_missing(place):
    path = storage.join(place, "absent")
    with pytest.raises(FileNotFoundError) as raised:
        storage.read_text(path)
    assert (raised.value.filename, raised.value.strerror) == (path, "There is no such file")
    with pytest.raises(StorageError, match="There is no such file") as missing:
        storage.read_input(path, 9)
    assert missing.value.reason == "missing"
    assert not storage.exists(path)
    with pytest.raises(FileNotFoundError):
        storage.copy(path, storage.join(place, "b"))


def test_a_bucket_that_is_not_there_is_a_sentence(store):
    path = f"{store}://no-such-bucket/folder"
    said = f"cannot be {{}}: there is no bucket {store}://no-such-bucket. Make it first, or name another."
    with pytest.raises(StoreError) as listed:
        storage.children(path)
    with pytest.raises(StoreError) as written:
        storage.write_text(f"{path}/a", "1")
    assert str(listed.value) == f"{path} {said.format('listed')}"
    assert str(written.value) == f"{path}/a {said.format('written')}"


def test_a_broken_connection_is_read_again(monkeypatch):
    from botocore.exceptions import IncompleteReadError

    with store_fixtures.s3():
        storage.write_text("s3://bucket/a", "12345")
        client = remote._store_of("s3://bucket")._client
        whole, asked = client.get_object, []

        def breaks_twice(**request):
            asked.append(request["Range"])
            answer = whole(**request)
            if len(asked) < object_stores.TRIES:
                answer["Body"] = Broken(IncompleteReadError(actual_bytes=2, expected_bytes=5))
            return answer

        monkeypatch.setattr(client, "get_object", breaks_twice)
        assert storage.read_input("s3://bucket/a", 5) == b"12345"
        assert asked == ["bytes=0-5"] * object_stores.TRIES
        broken = IncompleteReadError(actual_bytes=2, expected_bytes=5)
        monkeypatch.setattr(client, "get_object", lambda **_: {"Body": Broken(broken)})
        with pytest.raises(StorageError, match="2 read, but total bytes expected is 5") as raised:
            storage.read_input("s3://bucket/a", 5)
        assert raised.value.reason == "unreadable"


class Broken(io.BytesIO):
    """A body that breaks off."""

    def __init__(self, error: Exception):
        super().__init__()
        self._error = error

    def read(self, *_):
        raise self._error


def test_no_credentials_are_a_sentence(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(remote, "_kept", {})
    monkeypatch.setattr(remote, "_settings", "")
    with pytest.raises(StoreError, match=r"s3://b/a cannot be listed: Unable to locate credentials\. Set AWS_ACCESS"):
        storage.children("s3://b/a")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "boto3"), ("gs", "google-cloud-storage")])
def test_a_package_that_is_not_installed_is_a_sentence(scheme, package, monkeypatch):
    monkeypatch.setattr(remote, "_kept", {})
    monkeypatch.setitem(sys.modules, {"s3": "boto3", "gs": "google.cloud.storage"}[scheme], None)
    said = rf"{scheme}://b/a needs the package {package}, .* Install it: pip install {package}"
    with pytest.raises(StoreError, match=said):
        storage.read_text(f"{scheme}://b/a")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("hdfs://host/a", "hdfs:// cannot be read or written. Local paths, gs:// and s3:// can: copy the files there"),
        ("https://host/a", "https:// cannot be read or written."),
        ("gs://", "should name a bucket: gs://BUCKET/PATH."),
        ("s3://buck*t/a", "should name a bucket: s3://BUCKET/PATH."),
    ],
)
def test_what_no_store_has_is_refused(path, said):
    with pytest.raises(StoreError) as raised:
        storage.read_text(path)
    assert said in str(raised.value)


def test_a_refusal_by_the_store_names_the_remedy():
    from botocore.exceptions import ClientError

    with store_fixtures.s3():
        store = remote._store_of("s3://bucket")
        denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "GetObject")
        said = str(remote._told(store, "s3://bucket/a", "read", denied))
    assert said.startswith("s3://bucket/a cannot be read: An error occurred (AccessDenied)")
    assert said.endswith(object_stores.S3.remedy)


@pytest.mark.slow
def test_options_reach_processes_that_are_started(monkeypatch):
    monkeypatch.setattr(remote, "_settings", None)
    monkeypatch.delenv(remote.SETTINGS, raising=False)
    remote.use(["--s3_region_name=eu-north-1"])
    environment = remote.environment("s3://b/in", "/local", "s3://b/out")
    program = (
        "import sys; from pipelines.storage import remote; remote.preload(); print('boto3' in sys.modules, "
        "remote._options().get_all_options(drop_default=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "True {'s3_region_name': 'eu-north-1'}\n", done.stderr


def test_on_an_engines_machine_the_jobs_options_count(monkeypatch):
    """Beam has them there, as its harness was started with them."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions, S3Options

    monkeypatch.setattr(remote, "_settings", None)
    monkeypatch.delenv(remote.SETTINGS, raising=False)
    given = PipelineOptions(["--s3_endpoint_url=http://there", "--project=p"])
    monkeypatch.setattr(FileSystems, "_pipeline_options", given)
    monkeypatch.setenv(remote.SETTINGS, remote.settings())
    assert remote._options().view_as(S3Options).s3_endpoint_url == "http://there"


def test_local_work_imports_no_client():
    program = (
        "import sys; from pipelines import storage, work_dir; from pipelines.inputs import listing\n"
        "storage.children('.')\n"
        "print([m for m in ('apache_beam', 'boto3', 'google.cloud.storage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
