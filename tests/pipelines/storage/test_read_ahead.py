"""Files that are read before their turn have the bytes that a reading in turn would find."""

import threading

import pytest

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import StorageError
from pipelines.job import worker_tasks
from pipelines.storage import read_ahead, remote
from pipelines.workers.pool import Workers

SECONDS = 60


class Store:
    """Counts reads in place of `remote.read`; `together` of them have to be under way before one ends."""

    def __init__(self, together=1):
        self.barrier = threading.Barrier(together)
        self.read = []
        self.lock = threading.Lock()

    def __call__(self, path, limit):
        with self.lock:
            self.read.append(path)
        if self.barrier.parties > 1:
            self.barrier.wait(SECONDS)
        if "missing" in path:
            raise FileNotFoundError(path)
        return path.encode()[:limit] if "large" not in path else bytes(min(limit, read_ahead.LARGEST + 1))


def replaced(monkeypatch, **options):
    store = Store(**options)
    monkeypatch.setattr(remote, "read", store)
    return store


def uris(count, name="s3://b/{}"):
    return [name.format(i) for i in range(count)]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    read_ahead.begin([])


def test_several_files_are_under_way_at_once(monkeypatch):
    store = replaced(monkeypatch, together=4)  # a file alone would wait for the others in vain
    read_ahead.begin(uris(4))
    assert [read_ahead.take(uri) for uri in uris(4)] == [uri.encode() for uri in uris(4)]
    assert sorted(store.read) == uris(4)


def test_no_more_files_are_held_than_that(monkeypatch):
    store = replaced(monkeypatch)
    read_ahead.begin(uris(20))
    for taken in range(20):
        held = read_ahead._asked
        assert len(held) == min(read_ahead.AT_ONCE, 20 - taken)
        assert read_ahead.take(f"s3://b/{taken}") == f"s3://b/{taken}".encode()
    assert sorted(store.read) == sorted(uris(20))


def test_a_file_is_given_once_and_forgotten_with_its_request(monkeypatch):
    replaced(monkeypatch)
    read_ahead.begin(uris(3))
    assert read_ahead.take("s3://b/0") == b"s3://b/0"
    assert read_ahead.take("s3://b/0") is None
    read_ahead.begin(uris(2, "s3://b/new-{}"))
    assert read_ahead.take("s3://b/1") is None
    assert read_ahead.take("s3://b/new-1") == b"s3://b/new-1"


@pytest.mark.parametrize("name", ["/folder/{}", "in.tar://plain@512+10/{}.jpg", "s3://b/missing-{}", "s3://b/large-{}"])
def test_what_is_not_read_ahead_is_read_in_its_turn(monkeypatch, name):
    replaced(monkeypatch)
    read_ahead.begin(uris(2, name))
    assert read_ahead.take(name.format(0)) is None


def test_one_file_alone_is_read_in_its_turn(monkeypatch):
    store = replaced(monkeypatch)
    read_ahead.begin(uris(1))
    assert not store.read


def test_inputs_have_the_same_bytes_and_errors(monkeypatch):
    store = replaced(monkeypatch)
    names = ["s3://b/0", "s3://b/missing", "s3://b/2"]
    read_ahead.begin(names)
    assert storage.read_input(names[0], 100) == b"s3://b/0"
    with pytest.raises(StorageError, match="no such file"):
        storage.read_input(names[1], 100)
    with pytest.raises(StorageError, match="More than 3 bytes"):
        storage.read_input(names[2], 3)
    assert sorted(store.read) == ["s3://b/0", "s3://b/2", "s3://b/missing", "s3://b/missing"]


def test_requests_that_read_sources_are_read_ahead(monkeypatch):
    begun = []
    monkeypatch.setattr(read_ahead, "begin", lambda uris: begun.append(list(uris)))
    source = Source("k", "s3://b/k", "cat", "", "", 1.0)
    worker_tasks.ahead("fingerprint", [(source,), (source,)])
    worker_tasks.ahead("make_copy", [(b"pixels", source, 1, 0)])
    worker_tasks.ahead("finish", [("staged", "target", 3)])
    assert begun == [["s3://b/k", "s3://b/k"]]


def test_a_worker_tells_its_tasks_of_each_request():
    [first] = Workers(1, "tests.support.workers.light_tasks").submit("told_ahead", (), [(1,)])
    assert first.result(SECONDS) == ("told_ahead", [(1,)])
