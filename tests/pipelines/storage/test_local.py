"""Files: read with limits, written whole or not at all; test_remote.py has object stores."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading

import pytest

from pipelines import storage
from pipelines.storage import StorageError


def test_read_input(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")

    assert storage.read_input(str(path), 5) == b"12345"
    with pytest.raises(StorageError, match=r"5 bytes; the limit is 4 \(--max-file-bytes\)") as raised:
        storage.read_input(str(path), 4)
    assert raised.value.reason == "too-large"


def test_an_empty_file_is_read(tmp_path):
    (tmp_path / "a").touch()
    assert storage.read_input(str(tmp_path / "a"), 4) == b""


def test_a_large_limit_costs_no_memory(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert storage.read_input(str(tmp_path / "a"), 1 << 50) == b"x"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "missing"),
        (lambda p: p.mkdir(), "not-a-file"),
        (os.mkfifo, "not-a-file"),  # opening it must not wait for a writer
        (lambda p: p.symlink_to(p), "unreadable"),
        (lambda p: p.symlink_to("nowhere"), "missing"),
        (lambda p: p.symlink_to("/dev/zero"), "not-a-file"),
    ],
)
def test_what_is_no_regular_file_is_refused(make, reason, tmp_path):
    make(tmp_path / "a")
    with pytest.raises(StorageError) as raised:
        storage.read_input(str(tmp_path / "a"), 100)
    assert raised.value.reason == reason


@pytest.mark.parametrize(("name", "reason"), [("a\0b", "unreadable"), ("x" * 300, "unreadable")])
def test_names_that_cannot_be_are_refused(name, reason):
    with pytest.raises(StorageError) as raised:
        storage.read_input(name, 100)
    assert raised.value.reason == reason


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    whole = os.fstat

    def fstat_then_grow(descriptor):
        status = whole(descriptor)
        path.open("ab").write(b"more")
        return status

    monkeypatch.setattr(storage.files.os, "fstat", fstat_then_grow)
    with pytest.raises(StorageError) as raised:
        storage.read_input(str(path), 100)
    assert raised.value.reason == "changed"


def test_a_file_that_lies_outside_is_refused_where_the_folder_is_named(tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    for path in ("in/deep/a", "in-too/a", "out/a"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "in/link").symlink_to("../out/a")
    (tmp_path / "in/beside").symlink_to("../in-too/a")
    (tmp_path / "in/folder").symlink_to("../out")
    (tmp_path / "in/back").symlink_to("../in/deep/a")
    (tmp_path / "named").symlink_to("in")
    for root in (tmp_path / "in", tmp_path / "named"):
        for name in ("deep/a", "back"):
            assert storage.read_input(str(root / name), 9, str(root)) == b"x"
        for name in ("link", "beside", "folder/a"):
            assert storage.read_input(str(root / name), 9) == b"x"
            with pytest.raises(StorageError, match="leads out of the input since") as raised:
                storage.read_input(str(root / name), 9, str(root))
            assert raised.value.reason == "changed"
    assert storage.read_input(str(tmp_path / "out/a"), 9, "/") == b"x"


def test_what_was_opened_counts_and_not_where_the_path_leads_later(tmp_path, monkeypatch):
    """A link that leads outside while the file is opened, and inside again when somebody looks."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(name.encode())
    link = tmp_path / "in/link"
    link.symlink_to(tmp_path / "out/a")
    opened = os.open

    def open_then_restore(path, *more):
        descriptor = opened(path, *more)
        link.unlink()
        link.symlink_to(tmp_path / "in/a")
        return descriptor

    monkeypatch.setattr(storage.local.os, "open", open_then_restore)
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the system does not tell where an open file is")
    with pytest.raises(StorageError, match="leads out of the input since"):
        storage.read_input(str(link), 9, str(tmp_path / "in"))


@pytest.mark.parametrize("name", ["näme", "new\nline", "back\\slash", "st*r[1]", "\udcff"])
def test_any_name_can_be_written_read_and_removed(name, tmp_path):
    path = storage.join(str(tmp_path), "sub", name)

    storage.write_text(path, "größe \udcff")

    assert storage.read_text(path) == "größe \\udcff"
    assert storage.children(str(tmp_path / "sub")) == [name]
    storage.remove(path)
    assert not storage.exists(path)
    storage.remove(path)


def test_writing_replaces_whole(tmp_path):
    path = str(tmp_path / "a")
    storage.write_text(path, "old")
    with storage.writing(path) as file:
        file.write(b"new")
        file.flush()
        assert storage.read_text(path) == "old"
    assert storage.read_text(path) == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_writing_that_fails_leaves_what_was_and_nothing_else(tmp_path):
    path = str(tmp_path / "a")
    storage.write_text(path, "old")

    with pytest.raises(ZeroDivisionError), storage.writing(path) as file:
        file.write(b"half" * (1 // 0 if file.write(b"half") else 1))

    assert storage.read_text(path) == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_writing_into_a_file_as_if_it_were_a_folder(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match=r"File exists|Not a directory"), storage.writing(str(tmp_path / "a" / "b")):
        pass


@pytest.mark.parametrize("linkable", [True, False])
def test_copy(linkable, tmp_path, monkeypatch):
    if not linkable:
        monkeypatch.setattr(storage.files.os, "link", _fail)
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"old")

    storage.copy(str(tmp_path / "a"), str(tmp_path / "b"))
    storage.copy(str(tmp_path / "a"), str(tmp_path / "new" / "c"))

    assert (tmp_path / "b").read_bytes() == (tmp_path / "new" / "c").read_bytes() == b"1"
    assert (os.stat(tmp_path / "a").st_nlink == 3) == linkable


def _fail(*_):
    raise OSError("no links here")


def test_copy_and_write_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage.write_text("a", "1")
    storage.copy("a", "b")
    assert storage.read_text("b") == "1"


def test_trees(tmp_path):
    storage.write_text(str(tmp_path / "t" / "x" / "a"), "1")
    storage.move_tree(str(tmp_path / "t"), str(tmp_path / "u"))
    (tmp_path / "link").symlink_to(tmp_path / "u")

    storage.remove(str(tmp_path / "link"))  # the link, not what it leads to

    assert storage.children(str(tmp_path / "u")) == ["x"]
    assert storage.children(str(tmp_path / "absent")) == []
    storage.remove(str(tmp_path / "u"))
    assert storage.children(str(tmp_path)) == []


def test_the_digest_of_a_file(tmp_path):
    data = bytes(range(256)) * 5000  # more than one chunk
    (tmp_path / "a").write_bytes(data)

    assert storage.sha256(str(tmp_path / "a")) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("base", "parts", "expected"),
    [
        ("a", ("b", "c"), "a/b/c"),
        ("a/", ("b",), "a/b"),
        ("gs://bucket/", ("b", "c"), "gs://bucket/b/c"),
        ("gs://bucket/x", ("b",), "gs://bucket/x/b"),
    ],
)
def test_join(base, parts, expected):
    assert storage.join(base, *parts) == expected


def test_remote_files_are_asked_for_many_at_once_and_come_in_order():
    together = threading.Barrier(storage.files.AT_ONCE, timeout=60)  # breaks where fewer wait for one another

    def ask(number: int) -> int:
        together.wait()
        if number == 2 * storage.files.AT_ONCE:
            raise OSError("gone")
        return number * number

    some = range(2 * storage.files.AT_ONCE)
    assert list(storage.each(ask, some, "gs://b/folder")) == [n * n for n in some]
    with pytest.raises(OSError, match="gone"):
        list(storage.each(ask, range(storage.files.AT_ONCE + 1, 2 * storage.files.AT_ONCE + 1), "gs://b/folder"))


def test_local_files_are_asked_for_one_by_one():
    """As they are wanted, in this thread: a full disk stops at the first file."""
    asked = []
    answers = storage.each(lambda n: asked.append((n, threading.get_ident())) or n, range(3), "/folder")
    assert next(answers) == 0
    assert asked == [(0, threading.get_ident())]
    assert list(answers) == [1, 2]


def test_local_files_need_no_beam():
    program = (
        "import sys; from pipelines import storage; storage.children('.'); assert 'apache_beam' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
