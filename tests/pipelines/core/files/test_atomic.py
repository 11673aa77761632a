"""Files that are whole or not there: the order in which a loss of power would find them."""

from __future__ import annotations

import os
import stat

import pytest

from pipelines import storage
from pipelines.core.files import atomic


@pytest.fixture
def steps(monkeypatch):
    """What is asked of the system, with what the new file holds at that moment."""
    found = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        about = os.fstat(descriptor)
        found.append(("fsync", "folder" if stat.S_ISDIR(about.st_mode) else about.st_size))
        fsync(descriptor)

    def renamed(source, target):
        found.append(("rename", os.path.getsize(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return found


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, steps):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with atomic.replacing(path) as file:
        file.write(b"whole")
        assert path.read_text() == "old"
    assert path.read_text() == "whole"
    assert steps == [("fsync", 5), ("rename", 5), ("fsync", "folder")]
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_so_is_a_file_of_the_pipeline(tmp_path, steps):
    path = tmp_path / "contract.json"
    path.write_text("old")
    with storage.writing(str(path)) as file:
        file.write(b"whole")
        assert path.read_text() == "old"
    assert path.read_text() == "whole"
    assert steps == [("fsync", 5), ("rename", 5)]
    assert os.listdir(tmp_path) == ["contract.json"]


@pytest.mark.parametrize("opened", [lambda path: atomic.replacing(path), lambda path: storage.writing(str(path))])
def test_an_error_while_writing_leaves_what_was(tmp_path, opened):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(TypeError), opened(path) as file:
        file.writelines([b"half", "no bytes"])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["metrics.json"]
