"""Members of a zip or a tar are listed and read as the files of a folder, and names of strangers lead nowhere."""

from __future__ import annotations

import io
import os
import pathlib
import re
import stat
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile

import pytest

from pipelines import storage
from pipelines.core.elements import Source
from pipelines.core.errors import LayoutError, NothingUsableError, SourceError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec

TREE = {"pets/cat/1.jpg": b"one" * 50, "pets/cat/2.jpg": b"two", "pets/dog/1.jpg": b"three" * 99}


def make_zip(path: pathlib.Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", method) as container:
        for name, data in files.items():
            container.writestr(name, data)
    return path


def make_tar(path: pathlib.Path, files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> pathlib.Path:
    with tarfile.open(path, "w", format=form) as container:
        for name, data in files.items():
            add(container, name, data)
    return path


def add(container: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, to
    container.addfile(info, io.BytesIO(data))


def listed(path: object, **options) -> tuple[dict[str, Source], dict[str, str]]:
    """(key -> source, end of the address -> reason of the rejects)."""
    items = list(listing.list_sources(InputSpec(str(path), **options)))
    sources = {item.key: item for item in items if isinstance(item, Source)}
    rejects = {
        item.uri.split("://", 1)[1].split("/", 1)[1]: item.reason for item in items if isinstance(item, Rejected)
    }
    assert len(sources) + len(rejects) == len(items)
    return sources, rejects


def contents(sources: dict[str, Source]) -> dict[str, bytes]:
    return {key: storage.read_input(source.uri, 1000) for key, source in sources.items()}


@pytest.mark.parametrize(
    "make",
    [
        lambda path: make_zip(path / "in.zip", TREE),
        lambda path: make_zip(path / "in.ZIP", TREE, zipfile.ZIP_STORED),
        lambda path: make_tar(path / "in.tar", TREE),
        lambda path: make_tar(path / "in.tar", {f"./{name}": data for name, data in TREE.items()}, tarfile.GNU_FORMAT),
    ],
)
def test_a_container_is_read_as_the_folder_that_it_would_unpack_to(make, tmp_path):
    for name, data in TREE.items():
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    path = make(tmp_path)

    sources, rejects = listed(path)
    as_folder = listing.list_sources(InputSpec(str(tmp_path / "folder")))

    assert contents(sources) == TREE
    assert rejects == {}
    assert {s._replace(uri="") for s in sources.values()} == {s._replace(uri="") for s in as_folder}
    assert all(s.uri.startswith(f"{path}://") and s.uri.endswith(f"/{key}") for key, s in sources.items())
    told = listing.check(InputSpec(str(path))).told
    assert told == (f"Reads '{path}' as class/file below 'pets': 3 images of 2 classes.",)


def test_patterns_splits_and_system_files_are_those_of_folders(tmp_path):
    files = {f"{split}/{label}/1.jpg": b"x" for split in ("train", "val") for label in ("cat", "dog")}
    more = {
        "__MACOSX/train/cat/._1.jpg": b"",
        "train/cat/.hidden.jpg": b"",
        "train/notes.txt": b"",
        "old/cat/1.jpg": b"x",
    }
    path = make_zip(tmp_path / "in.zip", {**files, **more})

    sources, rejects = listed(path, exclude=("old",))

    assert {key: (s.split, s.label) for key, s in sources.items()} == {
        f"{folder}/{label}/1.jpg": (split, label)
        for folder, split in (("train", "train"), ("val", "validation"))
        for label in ("cat", "dog")
    }
    assert rejects == {
        "__MACOSX/train/cat/._1.jpg": "hidden",
        "train/cat/.hidden.jpg": "hidden",
        "train/notes.txt": "other-file",
    }


def test_names_that_would_leave_a_container_are_named_and_change_no_reading(tmp_path):
    bad = {"../up.jpg": b"x", "/etc/root.jpg": b"x", "pets/../../cat/x.jpg": b"x", "C:/x/y.jpg": b"x"}
    for path in (make_zip(tmp_path / "in.zip", {**TREE, **bad}), make_tar(tmp_path / "in.tar", {**TREE, **bad})):
        sources, rejects = listed(path)

        assert set(sources) == set(TREE)
        assert rejects == dict.fromkeys(
            ("../up.jpg", "etc/root.jpg", "pets/../../cat/x.jpg", "C:/x/y.jpg"), "outside-input"
        )


def test_links_and_devices_are_never_followed(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "in.tar", "w") as container:
        for name, data in TREE.items():
            add(container, name, data)
        add(container, "pets/cat/soft.jpg", kind=tarfile.SYMTYPE, to=str(tmp_path / "secret.jpg"))
        add(container, "pets/cat/hard.jpg", kind=tarfile.LNKTYPE, to="pets/cat/1.jpg")
        add(container, "pets/cat/fifo.jpg", kind=tarfile.FIFOTYPE)
    link = zipfile.ZipInfo("pets/cat/soft.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(make_zip(tmp_path / "in.zip", TREE), "a") as container:
        container.writestr(link, str(tmp_path / "secret.jpg"))

    of_tar, of_zip = listed(tmp_path / "in.tar"), listed(tmp_path / "in.zip")

    assert contents(of_tar[0]) == contents(of_zip[0]) == TREE
    assert of_tar[1] == {
        "pets/cat/soft.jpg": "link-in-container",
        "pets/cat/hard.jpg": "link-in-container",
        "pets/cat/fifo.jpg": "not-a-file",
    }
    assert of_zip[1] == {"pets/cat/soft.jpg": "link-in-container"}


def test_of_repeated_members_the_last_is_taken_as_unpacking_does(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(make_zip(tmp_path / "in.zip", TREE), "a") as container:
            container.writestr("pets/cat/1.jpg", b"later")
    with tarfile.open(make_tar(tmp_path / "in.tar", TREE), "a") as container:
        add(container, "pets/cat/1.jpg", b"later")

    for path in (tmp_path / "in.zip", tmp_path / "in.tar"):
        sources, rejects = listed(path)

        assert contents(sources) == {**TREE, "pets/cat/1.jpg": b"later"}
        assert rejects == {"pets/cat/1.jpg": "repeated-member"}


def test_encrypted_members_and_other_compressions_are_rejects(tmp_path):
    path = make_zip(tmp_path / "in.zip", TREE)
    with zipfile.ZipFile(path, "a") as container:
        container.writestr("pets/dog/bz.jpg", b"x" * 99, zipfile.ZIP_BZIP2)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")  # the first member's entry in the directory
    data[at + 8] |= 1
    path.write_bytes(data)

    sources, rejects = listed(path)

    assert set(sources) == {"pets/cat/2.jpg", "pets/dog/1.jpg"}
    assert rejects == {"pets/cat/1.jpg": "encrypted", "pets/dog/bz.jpg": "unread-compression"}


def zip_of_old_windows(path: pathlib.Path, names: list[str], encoding: str) -> pathlib.Path:
    """Writes a zip whose names are in an encoding that it does not state."""

    class Old(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 - the name of the standard library
            return self.filename.encode(encoding), self.flag_bits

    with zipfile.ZipFile(path, "w") as container:
        for name in names:
            container.writestr(Old(name), name.encode())
    return path


@pytest.mark.parametrize(
    ("encoding", "labels"),
    [("cp932", "猫 犬"), ("gbk", "玻璃 纸张"), ("cp949", "고양이 개"), ("cp866", "кошка собака"), ("cp850", "Ø Å")],
)
def test_names_of_an_unknown_encoding_are_refused_and_the_told_command_reads_them(encoding, labels, tmp_path):
    names = [f"{label}/{i}.jpg" for label in labels.split() for i in (1, 2)]
    path = zip_of_old_windows(tmp_path / "old.zip", names, encoding)
    with pytest.raises(LayoutError, match="does not say in which encoding") as e:
        listed(path)
    command = re.search(r"python (-m zipfile --metadata-encoding )cp932 -e (\S+) FOLDER", str(e.value))
    assert command, str(e.value)
    assert command[2] == str(path)
    out = tmp_path / "unpacked"
    subprocess.run([sys.executable, *command[1].split(), encoding, "-e", str(path), str(out)], check=True)
    assert sorted(listed(out)[0]) == sorted(names)


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp437", ["Käfer/1.jpg", "Möwe/1.jpg"]),
        ("cp850", ["Éléphant/1.jpg", "Señal/1.jpg"]),
        ("utf-8", ["猫/1.jpg", "犬/1.jpg"]),
    ],
)
def test_names_of_a_plain_encoding_are_read(encoding, names, tmp_path):
    assert sorted(listed(zip_of_old_windows(tmp_path / "old.zip", names, encoding))[0]) == sorted(names)


def test_names_in_utf8_without_a_flag_and_backslashes_of_windows(tmp_path):
    path = make_zip(tmp_path / "in.zip", {"Käse/1.jpg": b"x", "Brot/1.jpg": b"y"})
    data = path.read_bytes().replace(b"Brot/1.jpg", b"Brot\\1.jpg")
    for magic, flags, system in ((b"PK\3\4", 6, None), (b"PK\1\2", 8, 5)):
        at = data.find(magic)
        while at >= 0:
            part = bytearray(data)
            part[at + flags + 1] &= ~0x08
            if system is not None:
                part[at + system] = 0
            data = bytes(part)
            at = data.find(magic, at + 1)
    path.write_bytes(data)

    assert set(listed(path)[0]) == {"Käse/1.jpg", "Brot/1.jpg"}


def test_an_empty_class_folder_in_a_container_refuses_the_run(tmp_path):
    path = make_zip(tmp_path / "in.zip", {**TREE, "pets/bird/": b"", "pets/cat/": b""})

    with pytest.raises(SourceError, match=r"'bird' \(The folder is empty\)"):
        listing.check(InputSpec(str(path)))


@pytest.mark.parametrize("name", ["in.zip", "in.tar"])
def test_a_container_that_cannot_be_read_is_one_sentence(name, tmp_path):
    for content in (b"no container at all" * 99, b"PK\5\6"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match="cannot be read, so nobody knows which images it holds"):
            listing.check(InputSpec(str(tmp_path / name)))
    (tmp_path / name).unlink()
    with pytest.raises(SourceError, match="There is no container"):
        listing.check(InputSpec(str(tmp_path / name)))
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="no container"):
        listing.check(InputSpec(str(tmp_path / name)))


def test_containers_that_are_not_read_are_told_with_a_remedy(tmp_path):
    (tmp_path / "in.tar.gz").touch()
    with pytest.raises(SourceError, match=r"`gunzip` it, and name the \.tar"):
        listing.check(InputSpec(str(tmp_path / "in.tar.gz")))
    with pytest.raises(SourceError, match="read from a disk only"):
        listing.check(InputSpec("s3://bucket/in.zip"))


def test_a_folder_whose_name_ends_like_a_container_is_a_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "in.zip" / name).mkdir(parents=True)
        (tmp_path / "in.zip" / name / "1.jpg").write_bytes(b"x")

    found = list(listing.list_sources(InputSpec(str(tmp_path / "in.zip"))))

    assert {item.uri for item in found} == {str(tmp_path / "in.zip" / name / "1.jpg") for name in ("cat", "dog")}


def test_no_row_of_a_table_reaches_into_a_container_or_through_a_link(tmp_path):
    outside = make_tar(tmp_path / "outside.tar", TREE)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.tar").symlink_to(outside)
    rows = [f"{tmp_path}/in/link.tar://plain@512+3/cat/1.jpg", "link.tar://plain@512+3/cat/1.jpg"]
    (tmp_path / "in" / "table.csv").write_text("path,label\n" + "".join(f"{row},cat\n" for row in rows))

    found = list(listing.list_sources(InputSpec(str(tmp_path / "in" / "table.csv"))))

    assert [item.reason for item in found if isinstance(item, Rejected)] == ["outside-input"] * 2


def test_sizes_are_bounded_as_declared_and_as_read(tmp_path):
    path = make_zip(tmp_path / "in.zip", {"pets/cat/1.jpg": bytes(10**6), "pets/dog/1.jpg": b"x"})
    uri = listed(path)[0]["pets/cat/1.jpg"].uri
    with pytest.raises(storage.StorageError, match="1000000 bytes; the limit is 999999") as caught:
        storage.read_input(uri, 999_999)
    assert caught.value.reason == "too-large"
    assert storage.read_input(uri, 10**6) == bytes(10**6)

    lying = uri.replace("+1000000+", "+500+")  # as a directory that declares too little would say it
    with pytest.raises(storage.StorageError, match="declares 500 bytes and holds more than 500") as caught:
        storage.read_input(lying, 1000)
    assert caught.value.reason == "damaged-member"


def test_every_damaged_member_is_one_reject(tmp_path):
    path = make_zip(tmp_path / "in.zip", TREE)
    uri = listed(path)[0]["pets/dog/1.jpg"].uri
    whole = path.read_bytes()
    start = whole.index(b"pets/dog/1.jpg") + len("pets/dog/1.jpg")
    method = whole.index(b"pets/dog/1.jpg") - struct.calcsize("<4s5H3I2H") + 8
    for at, change in ((start + 2, 0xFF), (method, 8), (0, 0)):
        damaged = bytearray(whole)
        damaged[at] ^= change
        path.write_bytes(damaged if at else damaged[: start + 1])
        with pytest.raises(storage.StorageError) as caught:
            storage.read_input(uri, 1000)
        assert caught.value.reason == "damaged-member"
    path.unlink()
    with pytest.raises(storage.StorageError) as caught:
        storage.read_input(uri, 1000)
    assert caught.value.reason == "missing"
    os.mkfifo(path)
    with pytest.raises(storage.StorageError) as caught:
        storage.read_input(uri, 1000)
    assert caught.value.reason == "not-a-file"


def test_a_folder_of_containers_says_how_one_is_read(tmp_path):
    for name in ("b.zip", "a.tar"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(NothingUsableError) as error:
        listing.check(InputSpec(str(tmp_path)))
    assert str(error.value).endswith(f"A container is read if it is the input itself: --input {tmp_path}/a.tar.")
    assert "There are 2 containers. To read them together, unpack each into a folder of its name" in str(error.value)


def test_a_folder_of_compressed_tars_says_what_to_do(tmp_path):
    (tmp_path / "cat.tar.gz").write_bytes(b"")
    with pytest.raises(NothingUsableError, match="`gunzip` it, and name the"):
        listing.check(InputSpec(str(tmp_path)))
    (tmp_path / "dog.tar.gz").write_bytes(b"")
    with pytest.raises(NothingUsableError, match="To read them together, unpack each"):
        listing.check(InputSpec(str(tmp_path)))
