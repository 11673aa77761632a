"""What is listed: every entry is a source or a reject with a reason, whatever its name and kind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.core import elements
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, NothingUsableError, SourceError, TableError
from pipelines.core.summary import Rejected
from pipelines.core.text import utf8_text
from pipelines.inputs import listing, walk
from pipelines.inputs.classes_file import Classes
from pipelines.inputs.rules import InputSpec, TableSpec
from pipelines.inputs.tables import manifest, manifest_paths
from pipelines.inputs.tables.formats import table_file
from tests.support import object_stores


def spec(path: object, **options) -> InputSpec:
    return InputSpec(str(path), **options)


def listed(path: object, **options) -> tuple[list[Source], dict[str, str]]:
    """(the sources in order of key, uri -> reason of the rejects)."""
    items = list(listing.list_sources(spec(path, **options)))
    rejects = {i.uri: i.reason for i in items if isinstance(i, Rejected)}
    sources = sorted(i for i in items if isinstance(i, Source))
    assert len(rejects) + len(sources) == len(items)
    assert all(i.stage == "list" and i.detail for i in items if isinstance(i, Rejected))
    return sources, rejects


def touch(root: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_class_folders_nested_or_not(tmp_path):
    touch(tmp_path, "cat/a.jpg", "cat/deep/er/b", "dog/a.jpg")

    sources, rejects = listed(tmp_path)

    assert sources == [
        Source("cat/a.jpg", f"{tmp_path}/cat/a.jpg", "cat", "", "", 1.0),
        Source("cat/deep/er/b", f"{tmp_path}/cat/deep/er/b", "cat", "", "", 1.0),
        Source("dog/a.jpg", f"{tmp_path}/dog/a.jpg", "dog", "", "", 1.0),
    ]
    assert rejects == {}


def test_a_slash_at_the_end_and_another_place_change_no_key(tmp_path):
    here, there = touch(tmp_path / "here", "cat/a"), touch(tmp_path / "there", "cat/a")

    assert [s.key for s in listed(f"{here}//")[0]] == [s.key for s in listed(there)[0]] == ["cat/a"]


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("Training", "train"), ("val", "validation"), ("valid", "validation"), ("dev", "validation"),
     ("validation", "validation"), ("test", "test"), ("TESTING", "test"), ("eval", "test")],
)  # fmt: skip
def test_split_folders_under_their_usual_names(folder, split, tmp_path):
    touch(tmp_path, f"{folder}/cat/x/1.jpg", f"{folder}/dog/2.jpg", ".DS_Store")

    sources, rejects = listed(tmp_path)

    assert [s[2:4] for s in sources] == [("cat", split), ("dog", split)]
    assert set(rejects.values()) == {"hidden"}


def test_the_layout_can_be_stated(tmp_path):
    touch(tmp_path, "train/a/1", "fold_1/b/2", "fold-2/b/3")

    sources, rejects = listed(tmp_path, layout="split")

    assert [s[2:4] for s in sources] == [("b", "fold_1"), ("a", "train")]
    assert rejects == {f"{tmp_path}/fold-2/b/3": "bad-split"}  # it would become part of the shards' names
    touch(tmp_path / "only", "train/x/1")
    assert [s[2:4] for s in listed(tmp_path / "only", layout="class")[0]] == [("train", "")]


def test_files_without_a_label(tmp_path):
    touch(tmp_path / "class", "stray.jpg", "readme.txt", "cat/1", "dog/2")
    touch(tmp_path / "split", "train/1", "train/cat/2", "test/cat/3")

    assert listed(tmp_path / "class")[1] == {
        f"{tmp_path}/class/stray.jpg": "no-label", f"{tmp_path}/class/readme.txt": "other-file",
    }  # fmt: skip
    assert listed(tmp_path / "split")[1] == {f"{tmp_path}/split/train/1": "no-label"}


def test_groups_are_found_in_the_path(tmp_path):
    touch(tmp_path, "cat/p01_1.jpg", "cat/p01_2.jpg", "dog/p07_1.jpg")

    def groups(pattern: str) -> list[str]:
        return [s.group for s in listed(tmp_path, group_from=pattern)[0]]

    assert groups(r"(p\d+)_") == ["p01", "p01", "p07"]
    assert groups(r"p\d") == ["p0", "p0", "p0"]
    assert groups(r"(cat|dog)/(?P<group>p)") == ["p", "p", "p"]
    assert listing.has_groups(spec(tmp_path, group_from="p"))
    assert not listing.has_groups(spec(tmp_path))
    with pytest.raises(ConfigError, match=r"finds no group in the path 'dog/p07_1\.jpg'\. Each image needs one"):
        groups("p01")
    with pytest.raises(ConfigError, match="finds no group"):  # before a run, although the first image has a group
        listing.check(spec(tmp_path, group_from="p01"))


def test_the_labels_of_an_input_are_known_without_reading_an_image(tmp_path):
    touch(tmp_path / "folder", "cat/1.jpg", "dog/2.jpg")
    assert listing.labels(listing.check(spec(tmp_path / "folder"))) == {"cat", "dog"}
    (tmp_path / "mended.csv").write_text("path,label\ncat/1.jpg,fox\n")
    names = ("cat", "dog", "fox")  # only the correction gives a fox
    named = Classes("c.txt", names, tuple((name, name) for name in names))
    mended = spec(tmp_path / "folder", corrections=str(tmp_path / "mended.csv"), classes=named)
    assert listing.labels(listing.check(mended)) == {"dog", "fox"}
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "t.csv").write_text("path,labels\n1.jpg,cat|dog\n2.jpg,bee\n3.jpg,\n")
    table = TableSpec(labels="multi")
    assert listing.labels(listing.check(spec(tmp_path / "t.csv", table=table))) == {"bee", "cat", "dog"}


def test_hidden_files_are_rejected_as_such_whatever_they_are(tmp_path):
    touch(tmp_path, "cat/1", "cat/.2", ".git/3", "cat/.thumbs/4")
    (tmp_path / "cat/.#lock").symlink_to("user@host:1")  # as an editor leaves it
    os.mkfifo(tmp_path / "cat/.pipe")

    sources, rejects = listed(tmp_path)

    assert [s.key for s in sources] == ["cat/1"]
    assert set(rejects.values()) == {"hidden"}
    assert len(rejects) == 5
    assert "hidden" in elements.HARMLESS


def test_special_files_and_links(tmp_path):
    outside = touch(tmp_path / "outside", "secret.jpg")
    root = touch(tmp_path / "in", "cat/1", "dog/2")
    os.mkfifo(root / "cat/fifo")
    (root / "cat/dangling").symlink_to("nowhere")
    (root / "cat/itself").symlink_to("itself")
    (root / "self").symlink_to("self")  # a loop among the top folders too
    (root / "cat/up").symlink_to("..")
    (root / "cat/same").symlink_to(".")
    (root / "cat/out").symlink_to(outside)
    (root / "cat/out.jpg").symlink_to(outside / "secret.jpg")
    (root / "cat/friend").symlink_to("../dog/2")

    sources, rejects = listed(root)

    assert [s.key for s in sources] == ["cat/1", "cat/friend", "dog/2"]
    assert {pathlib.Path(uri).name: reason for uri, reason in rejects.items()} == {
        "fifo": "not-a-file",
        "dangling": "dangling-link",
        "itself": "dangling-link",
        "self": "dangling-link",
        "up": "looping-link",
        "same": "looping-link",
        "out": "outside-input",
        "out.jpg": "outside-input",
    }


def test_links_that_leave_can_be_allowed_and_still_do_not_loop(tmp_path):
    touch(tmp_path / "outside", "secret.jpg")
    root = touch(tmp_path / "in", "cat/1")
    (root / "cat/out").symlink_to(tmp_path / "outside")
    (root / "cat/parent").symlink_to(tmp_path)  # the folder that holds the input itself

    sources, rejects = listed(root, allow_outside=True)

    assert [s.key for s in sources] == ["cat/1", "cat/out/secret.jpg", "cat/parent/outside/secret.jpg"]
    assert rejects == {f"{root}/cat/parent/in": "looping-link"}


NAMES = [
    "new\nline.jpg",
    "back\\slash.jpg",
    "st*r.jpg",
    "[1].jpg",
    "what?.jpg",
    "größe.jpg",
    " .jpg",
    "a b.jpg",
    "a,b.jpg",
    "no ending",
    "x.another",
]


def test_names_of_all_kinds(tmp_path):
    touch(tmp_path, *(f"c[a]*t/{name}" for name in NAMES))

    sources, rejects = listed(tmp_path)

    assert [s.key for s in sources] == sorted(f"c[a]*t/{name}" for name in NAMES)
    assert {s.label for s in sources} == {"c[a]*t"}
    assert all(os.path.exists(s.uri) for s in sources)
    assert rejects == {}


def test_names_that_are_not_utf8(tmp_path):
    touch(tmp_path, "cat/1", "cat/\udcff.jpg", "d\udcfeg/2", "d\udcfeg/more/3")  # a folder counts by its files

    sources, rejects = listed(tmp_path)

    assert [s.key for s in sources] == ["cat/1"]
    assert rejects == dict.fromkeys(
        (f"{tmp_path}/cat/\\xff.jpg", f"{tmp_path}/d\\xfeg/2", f"{tmp_path}/d\\xfeg/more/3"), "name-not-utf8"
    )


@pytest.fixture
def locked_out():
    """A folder that this user can reach and that is no other test's; the test runs without the rights of root."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        root.chmod(0o755)
        yield root
        for path in (root, *(p for p in sorted(root.rglob("*")) if p.is_dir() and not p.is_symlink())):
            path.chmod(0o755)


@contextlib.contextmanager
def without_rights():
    """Has the body run as a user who may not read everything, if this one is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("pattern", ["", "/*/*", "/**"])
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])  # neither listed nor entered; not entered; not listed
def test_a_folder_that_cannot_be_read_ends_the_listing(locked_out, pattern, mode):
    """A class of a thousand images would be one reject of a thousand and one, which every rate allows."""
    touch(locked_out, "cat/1", "dog/more/2", "emu/3")
    (locked_out / "dog").chmod(mode)
    expected = locked_out / ("dog/more" if mode == 0o444 else "dog")
    if mode == 0o444 and pattern == "/*/*":  # dog is listed, and nothing below dog/more could match
        with without_rights():
            assert listed(f"{locked_out}{pattern}")[1] == {str(expected): "unreadable"}
        return
    with without_rights(), pytest.raises(SourceError) as raised:
        listed(f"{locked_out}{pattern}")
    assert str(raised.value).startswith(
        "1 folder of the input cannot be read, so nobody knows how many images are missing: "
        f"'{expected}' (Permission denied). Permit it"
    )


def test_all_folders_that_cannot_be_read_are_counted_and_some_named(locked_out):
    touch(locked_out, "cat/1", *(f"dog/{i}/2" for i in range(5)), ".trash/3", "cat/.old/4")
    for name in (*(f"dog/{i}" for i in range(5)), ".trash", "cat/.old"):
        (locked_out / name).chmod(0)
    with (
        without_rights(),
        pytest.raises(SourceError, match=r"^5 folders .*'.*/dog/\d' \(Permission denied\) and 2 more"),
    ):
        listed(locked_out)
    for i in range(5):
        (locked_out / f"dog/{i}").chmod(0o755)
    with without_rights():  # hidden folders hold no input
        sources, rejects = listed(locked_out)
    assert len(sources) == 6
    assert rejects == {f"{locked_out}/.trash": "hidden", f"{locked_out}/cat/.old": "hidden"}


def test_a_file_that_cannot_be_examined_is_a_reject_and_a_link_to_who_knows_what_is_a_folder(locked_out):
    touch(locked_out, "in/cat/1", "in/dog/2", "in/dog/3", "away/emu/4")
    (locked_out / "in/dog").chmod(0o444)
    with without_rights():
        assert listed(locked_out / "in")[1] == {f"{locked_out}/in/dog/{i}": "unreadable" for i in (2, 3)}
    (locked_out / "in/emu").symlink_to("../away/emu")
    (locked_out / "away").chmod(0)
    with without_rights():
        assert listed(locked_out / "in")[1][f"{locked_out}/in/emu"] == "outside-input"
        with pytest.raises(SourceError, match=r"1 folder .*/in/emu' \(Permission denied\)"):
            listed(locked_out / "in", allow_outside=True)


def test_a_disk_that_fails_in_the_middle_of_a_folder_ends_the_listing(tmp_path, monkeypatch):
    touch(tmp_path, "cat/1", "dog/2")
    scan = os.scandir

    class Fails:
        def __init__(self, path):
            self._entries, self._fails = scan(path), str(path).endswith("dog")

        def __enter__(self):
            if self._fails:
                raise OSError(5, "Input/output error")
            return self._entries.__enter__()

        def __exit__(self, *error):
            return self._entries.__exit__(*error)

    monkeypatch.setattr(walk.os, "scandir", Fails)
    with pytest.raises(SourceError, match=rf"'{tmp_path}/dog' \(Input/output error\)"):
        listed(tmp_path)


def test_a_class_folder_that_is_a_link_outside_is_a_reject_of_that_class(tmp_path):
    touch(tmp_path, "in/cat/1", "away/2")
    (tmp_path / "in/dog").symlink_to(tmp_path / "away")
    rejects = [i for i in listing.list_sources(spec(tmp_path / "in")) if isinstance(i, Rejected)]
    assert [(r.reason, r.label) for r in rejects] == [("outside-input", "dog")]


@pytest.mark.parametrize("pattern", ["", "/**/*"])
def test_links_that_multiply_paths_end_the_listing(tmp_path, pattern):
    """Sixty folders, each with two links to the next: 2^60 paths to the last one."""
    root = tmp_path / "in"
    for i in range(60):
        (root / f"cat{i}").mkdir(parents=True)
        (root / f"cat{i}/1").touch()
        for name in "ab":
            (root / f"cat{i}/{name}").symlink_to(f"../cat{i + 1}")
    with pytest.raises(SourceError, match=r"Symbolic links lead to the folder '.*/cat\d+' in more than 100 ways"):
        listed(f"{root}{pattern}")


def test_as_many_links_to_a_folder_as_are_allowed_are_followed(tmp_path):
    touch(tmp_path, "cat/1")
    (tmp_path / "dog").mkdir()
    for i in range(walk.MOST_WAYS):
        (tmp_path / f"dog/{i}").symlink_to("../cat")
    assert len(listed(tmp_path)[0]) == 1 + walk.MOST_WAYS
    (tmp_path / "dog/more").symlink_to("../cat")
    with pytest.raises(SourceError, match="in more than 100 ways"):
        listed(tmp_path)


def test_names_of_files_are_utf8_or_nothing_is_listed(tmp_path):
    touch(tmp_path, "cat/größe.jpg")
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import sys; from pipelines.inputs import listing, rules; listing.check(rules.InputSpec(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "SourceError: Python takes names of files for " in done.stderr
    assert done.stderr.endswith("Set PYTHONUTF8=1.\n")


@pytest.mark.parametrize(
    ("name", "content", "copied"),
    [
        ("train.lst", b"0\t1.0\ta/1.jpg\n", "train.lst.tsv"),
        ("output.manifest", b'{"source-ref": "a/1.jpg", "pet": 0}\n', "output.manifest.jsonl"),
        ("labels.dat", b"path,label\na/1.jpg,a\n", "labels.dat.csv"),
        ("photo.xyz", b"\x00\x01\n", ""),
        ("one-line", b"text", ""),
    ],
)
def test_a_table_of_another_ending_is_told_how_to_copy_it(name, content, copied, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match="There is a file that is no manifest") as e:
        listing.check(InputSpec(str(path)))
    assert str(e.value).partition(" cp ")[2] == (f"{path} {tmp_path / copied}" if copied else "")


def test_tables_of_each_split_beside_class_folders_are_told_and_read(tmp_path):
    """As EuroSAT of Kaggle has them."""
    for folder in ("sea", "wood"):
        (tmp_path / "E" / folder).mkdir(parents=True)
        (tmp_path / "E" / folder / "1.jpg").touch()
    (tmp_path / "E" / "train.csv").write_text("file,label\nsea/1.jpg,sea\n")
    (tmp_path / "E" / "test.csv").write_text("file,label\nwood/1.jpg,wood\n")
    told = " ".join(listing.check(InputSpec(str(tmp_path))).told)
    pattern = re.search("If they are tables of paths and labels: --input '([^']+)'.", told)
    assert pattern, told
    sources = list(listing.list_sources(InputSpec(pattern[1])))
    assert {(source.key, source.split) for source in sources} == {("sea/1.jpg", "train"), ("wood/1.jpg", "test")}
    (tmp_path / "list.csv").write_text("file,label\n" + "".join(f"sea/{i}.jpg,sea\n" for i in range(2, 7)))
    lists = ((str(tmp_path / "list.csv"), "train"),)
    with pytest.raises(NothingUsableError, match=r"missing 6, .*For example 'file,label': The list"):
        listing.check(InputSpec(str(tmp_path), split_lists=lists))


def test_an_empty_folder(tmp_path):
    (tmp_path / "cat").mkdir()
    with pytest.raises(SourceError, match="holds no file"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent", "There is nothing at"),
        ("file.xyz", "There is a file that is no manifest at"),
        ("book.xlsx", "save it as CSV"),
        ("absent.csv", "No manifest"),
        ("folder.csv", "No manifest"),
        ("\udcff", "should be UTF-8"),
    ],
)
def test_check_says_what_is_not_there(path, message, tmp_path):
    touch(tmp_path, "file.xyz", "book.xlsx", "folder.csv/x")
    with pytest.raises(SourceError, match=message):
        listing.check(spec(tmp_path / path))


@pytest.mark.parametrize(
    ("path", "reasons"),
    [
        ("in/*/*.png", ""),
        ("rows.jsonl", "outside-input 1, bad-row 1"),
    ],
)
def test_check_says_why_nothing_can_be_used(path, reasons, tmp_path):
    touch(tmp_path, "in/cat/1", "in/cat/2")
    (tmp_path / "rows.jsonl").write_text('{"path": "../elsewhere", "label": "cat"}\n{"path": "in/cat/1"}\n')
    with pytest.raises(SourceError) as raised:
        listing.check(spec(tmp_path / path))
    assert (f"can be used: {reasons}. For example" if reasons else "matches no file") in str(raised.value)


@pytest.mark.parametrize("path", [".", "a[1]", "rows.jsonl", "c*/*", "[ac]*/x/*"])
def test_check_lets_pass_what_has_images(path, tmp_path):
    touch(tmp_path, "cat/1", "a[1]/x/2")
    (tmp_path / "rows.jsonl").write_text('{"path": "cat/1", "label": "cat"}\n')
    assert listing.check(spec(tmp_path / path)).spec.path == str(tmp_path / path)


def test_an_absent_folder_is_an_error_when_it_is_listed_too(tmp_path):
    for path in ("absent", "absent/*.jpg"):
        with pytest.raises(SourceError, match=r"cannot be read: .*No such file"):
            listed(tmp_path / path)


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("*/*.jpg", ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]),
        ("cat/*", ["1.jpg", "2.jpg", "note.txt"]),
        ("[cd]*/?.jpg", ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]),
        ("**/*.jpg", ["cat/1.jpg", "cat/2.jpg", "cat/old/4.jpg", "dog/3.jpg"]),
        ("cat/**", ["1.jpg", "2.jpg", "note.txt", "old/4.jpg"]),
        ("c*/*d/*", ["cat/old/4.jpg"]),
    ],
)
def test_globs(pattern, keys, tmp_path):
    touch(tmp_path, "cat/1.jpg", "cat/2.jpg", "cat/note.txt", "dog/3.jpg", "cat/old/4.jpg")

    sources, rejects = listed(tmp_path / pattern)

    assert [s.key for s in sources] == keys
    assert all(s.uri.endswith("/" + s.key) and os.path.isfile(s.uri) for s in sources)
    assert [s.label for s in sources] == [pathlib.Path(s.uri).parent.name for s in sources]
    assert rejects == {}


def test_a_glob_lists_names_of_all_kinds_and_rejects_what_is_no_file(tmp_path):
    touch(tmp_path, *(f"cat/{name}" for name in NAMES), "cat/.hidden", "other/1")
    os.mkfifo(tmp_path / "cat/fifo")
    (tmp_path / "cat/out").symlink_to("/etc/hostname")

    sources, rejects = listed(tmp_path / "c*" / "*")

    assert [s.key for s in sources] == sorted(f"cat/{name}" for name in NAMES)
    assert rejects == {
        f"{tmp_path}/cat/.hidden": "hidden",
        f"{tmp_path}/cat/fifo": "not-a-file",
        f"{tmp_path}/cat/out": "outside-input",
    }


def test_a_relative_glob(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "cat/1.jpg", "2.jpg"))

    assert listed("*/*.jpg")[0] == [Source("cat/1.jpg", "cat/1.jpg", "cat", "", "", 1.0)]
    assert listed("*.jpg") == ([], {"2.jpg": "no-label"})


def test_a_glob_that_matches_nothing(tmp_path):
    with pytest.raises(SourceError, match=r"\*\.png' matches no file"):
        listed(touch(tmp_path, "cat/1.jpg") / "*" / "*.png")


def test_remote_folders_and_globs():
    """A folder is listed once, however many files and folders it holds; a glob from where it begins to be one."""
    names = ["in/dog/2", "in/cat/1", "in/cat/", "in/cat/old/3", "in/cow/[4]", "inside/cat/5"]
    with object_stores.in_memory() as store:
        store.objects = {f"gs://b/{name}": b"" for name in names}

        assert listed("gs://b/in/")[0] == [
            Source("cat/1", "gs://b/in/cat/1", "cat", "", "", 1.0),
            Source("cat/old/3", "gs://b/in/cat/old/3", "cat", "", "", 1.0),
            Source("cow/[4]", "gs://b/in/cow/[4]", "cow", "", "", 1.0),
            Source("dog/2", "gs://b/in/dog/2", "dog", "", "", 1.0),
        ]
        assert store.listings == ["gs://b/in/"]
        for pattern, keys in (
            ("*/*", ["cat/1", "cow/[4]", "dog/2"]),
            ("c*/*", ["cat/1", "cow/[4]"]),
            ("**/3", ["cat/old/3"]),
            ("cat/**", ["1", "old/3"]),
            ("co[vw]/?4?", ["cow/[4]"]),
        ):
            assert [s.key for s in listed(f"gs://b/in/{pattern}")[0]] == keys
        assert store.listings[1:] == [f"gs://b/in/{beginning}" for beginning in ("", "c", "", "cat/", "co")]


def test_remote_inputs_that_are_not_there():
    with object_stores.in_memory() as store:
        store.objects = {"gs://b/in/cat/1": b"", "gs://b/m.csv": b"path,label\n1.jpg,cat\n"}
        for path in ("gs://b/in", "gs://b/m.csv", "gs://b/in/*/*"):
            assert listing.check(spec(path)).spec.path == path
        for path, said in (
            ("gs://b/i", "There is nothing below 'gs://b/i'"),
            ("gs://b/n/*", "There is nothing below 'gs://b/n/\\*'"),
            ("gs://b/n.csv", "No manifest"),
        ):
            with pytest.raises(SourceError, match=said):
                listing.check(spec(path))
        with pytest.raises(SourceError, match=r"in/x\*' matches no file"):
            listed("gs://b/in/x*")


def test_remote_files_of_images_are_refused_with_what_to_do():
    """Zips, tars, TFRecord and Parquet files are read where their images lie, which is done on a disk only."""
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"image": [{"bytes": b"x", "path": "1.png"}], "label": [1]}), parquet)
    plain = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"path": ["1.png"], "label": ["cat"]}), plain)
    with object_stores.in_memory() as store:
        store.objects = {
            "gs://b/z/a.zip": b"", "gs://b/w/x-0.tar": b"", "gs://b/t/a.tfrecord": b"",
            "gs://b/i/train-00000-of-00001": b"",
            "gs://b/p/a.parquet": parquet.getvalue(), "gs://b/m.parquet": plain.getvalue(), "gs://b/x.tar.gz": b"",
            "gs://b/mixed/cat/1.jpg": b"", "gs://b/mixed/dog/1.jpg": b"", "gs://b/mixed/all.zip": b"",
        }  # fmt: skip
        for path, said in (
            ("gs://b/z/a.zip", "is a container. Such files .* `gcloud storage cp gs://b/z/a.zip .`"),
            ("gs://b/z", "holds no pictures but containers, or .* `gcloud storage cp -r gs://b/z .`"),
            ("gs://b/w/x-{0..1}.tar", "is a container. .* `gcloud storage cp -r gs://b/w .`"),
            ("gs://b/x.tar.gz", "is a container. .*`gunzip` it"),
            ("gs://b/t/*.tfrecord", "names TFRecord files, which hold the images themselves"),
            (
                "s3://b/i/train-00000-of-00001",
                "names TFRecord .*`aws s3 cp s3://b/i/train-00000-of-00001 .`",
            ),
            ("gs://b/i", "holds no pictures"),
            ("gs://b/p", "holds no pictures"),
            ("gs://b/p/a.parquet", "holds the images themselves"),
            ("gs://b/p/*.parquet", "names Parquet files"),
            ("gs://b/*.csv", "A pattern of tables is read on a disk only"),
        ):
            with pytest.raises(SourceError, match=said):
                listing.check(spec(path))
        for path in ("gs://b/m.parquet", "gs://b/mixed"):
            assert listing.check(spec(path)).spec.path == path


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{c}/{i}" for c in "cab" for i in range(2, 7)))
    first = list(listing.list_sources(spec(tmp_path)))
    scan = os.scandir

    class Backwards:
        def __init__(self, path):
            self._entries = scan(path)

        def __enter__(self):
            return reversed(list(self._entries.__enter__()))

        def __exit__(self, *error):
            return self._entries.__exit__(*error)

    monkeypatch.setattr(walk.os, "scandir", Backwards)
    assert list(listing.list_sources(spec(tmp_path))) == first


def write(path: pathlib.Path, rows: list[dict], bom: bool = False) -> pathlib.Path:
    """A manifest in the format that its name states."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if path.suffix == ".csv":
        columns = list(dict.fromkeys(name for row in rows for name in row))
        quoted = [['"' + str(row.get(c, "")).replace('"', '""') + '"' for c in columns] for row in rows]
        text = "\r\n".join(",".join(line) for line in [columns, *quoted])
    else:
        text = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    return path


FORMATS = ["m.csv", "m.jsonl", "m.ndjson", "m.parquet", "M.CSV"]


@pytest.mark.parametrize("name", FORMATS)
def test_manifests_of_every_format(name, tmp_path):
    path = write(
        tmp_path / name.lower(),
        [
            {"path": "a/1.jpg", "label": "cat", "split": "VAL", "group": "g1", "weight": 2.5},
            {"path": "a/new\nline.jpg", "label": 'say "cat", twice', "split": "", "group": "", "weight": 0},
            {"path": "./a//3.jpg", "label": " dog ", "split": "fold_1", "group": "7", "weight": 1},
        ],
    )
    path = path.rename(tmp_path / name)

    sources, rejects = listed(path)

    assert sources == [
        Source("a/1.jpg", f"{tmp_path}/a/1.jpg", "cat", "validation", "g1", 2.5),
        Source("a/3.jpg", f"{tmp_path}/a/3.jpg", "dog", "fold_1", "7", 1.0),
        Source("a/new\nline.jpg", f"{tmp_path}/a/new\nline.jpg", 'say "cat", twice', "", "", 0.0),
    ]
    assert rejects == {}


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(name, tmp_path):
    path = write(tmp_path / name, [{"path": "1.jpg", "label": "cat"}], bom=True)
    assert [s[2:] for s in listed(path)[0]] == [("cat", "", "", 1.0, ())]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_missing_columns(name, tmp_path):
    with pytest.raises(TableError, match=r"plainly the label\. It has 'path', 'kind'\. Name it: --label-column COLUMN"):
        listed(write(tmp_path / name, [{"path": "1.jpg", "kind": "cat"}]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"", "is empty: it should have a heading with the columns path and label"),
        ("m.csv", b"path,label\n", "has no rows"),
        ("m.csv", b"path,label\n\xff\xfe,cat\n", r"is not UTF-8 \(line 2\), and it is not plain what else it is"),
        ("m.jsonl", b"", "is empty"),
        ("m.jsonl", b'{"path": "1", "label": "cat"}\n{"path": ', "Line 2 of the manifest is not JSON"),
        ("m.jsonl", b"[" * 100_000, "Line 1 of the manifest is not JSON"),
        ("m.jsonl", b'\n["1", "cat"]', "Line 2 of the manifest should be a JSON object"),
        ("m.parquet", b"PAR1 or not", "cannot be read: Arrow"),
    ],
)
def test_manifests_that_cannot_be_read(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        listed(tmp_path / name)


def test_the_check_before_a_run_reads_the_first_rows_only_of_a_large_table(tmp_path, monkeypatch):
    (tmp_path / "0.jpg").touch()
    rows = [json.dumps({"path": f"{i}.jpg", "label": "cat"}) for i in range(listing.LOOKED_AT)]
    (tmp_path / "m.jsonl").write_text("\n".join([*rows, "no JSON"]))
    said = f"Line {listing.LOOKED_AT + 1} of the manifest is not JSON"
    with pytest.raises(SourceError, match=said):
        listing.check(spec(tmp_path / "m.jsonl"))
    monkeypatch.setattr(manifest, "MAX_LOOKED_AT", 10)
    assert listing.check(spec(tmp_path / "m.jsonl")).told[0].endswith("columns 'path' as path and 'label' as label.")
    with pytest.raises(SourceError, match=said):
        listed(tmp_path / "m.jsonl")


def test_an_absent_manifest(tmp_path):
    with pytest.raises(SourceError, match="There is no such file"):
        listed(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"path": "", "label": "cat"}, "should have a path and a label"),
        ({"path": "1", "label": " "}, "should have a path and a label"),
        ({"path": "1"}, "should have a path and a label"),
        ({"path": "1", "label": None}, "should have a path and a label"),
        ({"path": "1", "label": float("nan")}, "should have a path and a label"),
        ({"path": "1", "label": ["cat"]}, "should have plain text or a number as its label"),
        ({"path": {"x": 1}, "label": "cat"}, "should have plain text or a number as its path"),
        ({"path": "a\0b", "label": "cat"}, "should have plain text or a number as its path"),
        ({"path": "1", "label": "\ud800"}, "should have plain text or a number as its label"),
        ({"path": "1", "label": "cat", "group": "\udcff"}, "should have plain text or a number as its group"),
        (
            {"path": "1", "label": "cat", "split": "../up"},
            "should have a split that begins with a letter, and has letters, digits and _",
        ),
        ({"path": "1", "label": "cat", "weight": -1}, "should have a weight from 0 to 3e+38. Received: -1"),
        ({"path": "1", "label": "cat", "weight": "heavy"}, "should have a weight"),
        ({"path": "1", "label": "cat", "weight": "nan"}, "should have a weight"),
        ({"path": "1", "label": "cat", "weight": 1e300}, "should have a weight"),
        ({"path": "1", "label": "cat", "weight": True}, "should have a weight"),
    ],
    ids=str,
)
def test_bad_rows_are_rejected_alone(row, sentence, tmp_path):
    path = write(tmp_path / "m.jsonl", [{"path": "0", "label": "ok"}, row])

    first, second = listing.list_sources(spec(path))

    assert isinstance(first, Source)
    assert isinstance(second, Rejected)
    assert second.reason == "bad-row"
    assert second.detail.startswith("Row 2 ")
    assert sentence in second.detail
    assert "bad-row" not in elements.HARMLESS


def test_numbers_are_labels_too(tmp_path):
    path = write(tmp_path / "m.jsonl", [{"path": 1, "label": 0}, {"path": "2", "label": 1, "group": 5}])
    assert [(s.key, s.label, s.group) for s in listed(path)[0]] == [("1", "0", ""), ("2", "1", "5")]


def test_repeated_and_contradictory_rows_in_any_order(tmp_path):
    rows = [
        {"path": "same.jpg", "label": "cat"}, {"path": "./same.jpg", "label": "cat", "weight": 1.0},
        {"path": f"{tmp_path}/same.jpg", "label": "cat"},
        {"path": "label.jpg", "label": "cat"}, {"path": "label.jpg", "label": "dog"},
        {"path": "split.jpg", "label": "cat", "split": "train"}, {"path": "x/../split.jpg", "label": "cat"},
        {"path": "weight.jpg", "label": "cat", "weight": 1}, {"path": "weight.jpg", "label": "cat", "weight": 2},
        {"path": "group.jpg", "label": "cat", "group": "a"}, {"path": "group.jpg", "label": "cat", "group": "b"},
    ]  # fmt: skip
    for order in (rows, rows[::-1]):
        items = list(listing.list_sources(spec(write(tmp_path / "m.jsonl", order))))

        assert [i.key for i in items if isinstance(i, Source)] == ["same.jpg"]
        reasons = [(pathlib.Path(i.uri).name, i.reason) for i in items if isinstance(i, Rejected)]
        assert sorted(reasons) == sorted(
            [("same.jpg", "repeated-row")] * 2
            + [(f"{n}.jpg", "contradictory-rows") for n in ("label", "split", "weight", "group")] * 2
        )


def test_paths_that_leave_the_manifests_folder(tmp_path):
    touch(tmp_path, "up.jpg", "in/1.jpg")
    (tmp_path / "in/link.jpg").symlink_to("../up.jpg")
    rows = [{"path": p, "label": "cat"} for p in ("1.jpg", "../up.jpg", f"{tmp_path}/up.jpg", "link.jpg", "a/../../up")]
    path = write(tmp_path / "in" / "m.jsonl", rows)

    sources, rejects = listed(path)
    allowed, none = listed(path, allow_outside=True)

    assert [s.key for s in sources] == ["1.jpg"]
    assert rejects == {row["path"]: "outside-input" for row in rows[1:]}
    assert [(s.key, s.uri) for s in allowed] == [
        ("../up", f"{tmp_path}/up"),
        ("../up.jpg", f"{tmp_path}/up.jpg"),
        ("1.jpg", f"{tmp_path}/in/1.jpg"),
        ("link.jpg", f"{tmp_path}/in/link.jpg"),
    ]
    assert list(none.values()) == ["repeated-row"]


def test_keys_do_not_depend_on_where_the_manifest_lies(tmp_path, monkeypatch):
    rows = [{"path": "a/1.jpg", "label": "cat"}]
    first = write(tmp_path / "m.jsonl", rows)
    monkeypatch.chdir(tmp_path)

    for path in (first, "m.jsonl", "./m.jsonl"):
        assert [s.key for s in listed(path)[0]] == ["a/1.jpg"]
    absolute = write(tmp_path / "n.jsonl", [{"path": f"{tmp_path}/a/1.jpg", "label": "cat"}])
    assert [s.key for s in listed(absolute)[0]] == ["a/1.jpg"]


def test_a_remote_manifest(monkeypatch):
    rows = b"path,label\na/../b/1.jpg,cat\ngs://other/2.jpg,dog\ngs://bucket/in/b/1.jpg,cat\n"
    monkeypatch.setattr(table_file.storage, "read_input", lambda path, limit: rows)

    assert listed("gs://bucket/in/m.csv")[1] == {
        "gs://other/2.jpg": "outside-input", "gs://bucket/in/b/1.jpg": "repeated-row",
    }  # fmt: skip
    sources, rejects = listed("gs://bucket/in/m.csv", allow_outside=True)

    assert [s[:3] for s in sources] == [
        ("b/1.jpg", "gs://bucket/in/b/1.jpg", "cat"),
        ("gs://other/2.jpg", "gs://other/2.jpg", "dog"),
    ]
    assert rejects == {"gs://bucket/in/b/1.jpg": "repeated-row"}


@pytest.mark.parametrize("manifest_in", ["/in/m.csv", "gs://bucket/in/m.csv"])
@pytest.mark.parametrize(
    "path",
    ["gs://other/1.jpg", "s3://bucket/in/1.jpg", "gs://bucket/in.jpg", "../1.jpg", "/etc/1.jpg", "file:///1.jpg"],
)
def test_a_row_leaves_the_manifests_folder_wherever_both_are(manifest_in, path, monkeypatch):
    rows = f"path,label\n{path},cat\n".encode()
    monkeypatch.setattr(table_file.storage, "read_input", lambda path, limit: rows)

    assert listed(manifest_in) == ([], {path: "outside-input"})
    assert len(listed(manifest_in, allow_outside=True)[0]) == 1


def test_one_path_in_all_rows_costs_as_much_as_its_rows(tmp_path):
    """Each of n rejects named the labels of all n rows: 98 KiB of a manifest made 318 MiB of rejects."""
    rows = [{"path": "1.jpg", "label": f"label {i // 2:04d}", "group": "g" * 400 + str(i)} for i in range(1000)]
    path = write(tmp_path / "m.jsonl", rows)
    tracemalloc.start()
    try:
        rejects = list(listing.list_sources(spec(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert {r.reason for r in rejects} == {"contradictory-rows"}
    assert rejects[7].detail.startswith(
        "Row 8: this path has 1000 different combinations of label, split, group and weight, such as ('label 0000', "
    )
    assert max(len(r.detail) for r in rejects) < 500
    assert peak < 20 << 20  # bytes; with all labels in each detail it is 900 MB


@pytest.mark.parametrize("column", ["path", "label", "split", "group", "weight"])
def test_a_cell_is_no_longer_than_a_path_can_be(column, tmp_path):
    row = {"path": "1.jpg", "label": "cat", column: "1" * (manifest.MAX_TEXT + 1)}
    [reject] = listing.list_sources(spec(write(tmp_path / "m.jsonl", [row])))

    assert (reject.reason, reject.detail) == (
        "bad-row", f"Row 1 should have at most 4096 characters as its {column}. Received: 4097"
    )  # fmt: skip
    assert max(len(reject.uri), len(reject.label)) <= manifest.MAX_TEXT


scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
json_values = st.recursive(scalars, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=4)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(
    st.lists(st.dictionaries(st.sampled_from(["path", "label", "split", "group", "weight"]), json_values), min_size=1)
)
def test_no_row_raises_and_none_is_lost(rows):
    folders = manifest_paths.Folders("/base")
    items = [manifest._parse_row(manifest.Row(1, row), InputSpec("/base/m.csv"), "/base", folders) for row in rows]

    for item in items:
        assert isinstance(item, (Source, Rejected))
        json.dumps(item if isinstance(item, Source) else item.uri, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"), [("größe", "größe"), ("a\udcffb", "a\\xffb"), ("a\ud800b", "a\\ud800b"), ("a\\b", "a\\b")]
)
def test_printable(text, shown):
    assert utf8_text(text) == shown


def test_listing_a_local_folder_needs_no_beam(tmp_path):
    touch(tmp_path, "cat/1")
    program = (
        "import sys; from pipelines.inputs import listing; from pipelines.inputs.rules import InputSpec\n"
        "for path in sys.argv[1:]: assert len(list(listing.list_sources(InputSpec(path)))) == 1\n"
        "assert not {'apache_beam', 'tensorflow'} & set(sys.modules)"
    )
    paths = [str(tmp_path), f"{tmp_path}/*/*"]
    done = subprocess.run([sys.executable, "-c", program, *paths], timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("path", "options", "folder"),
    [
        ("in", {}, "in"),
        ("in/", {}, "in"),
        ("in/*/*.jpg", {}, "in"),
        ("*/*.jpg", {}, "."),
        ("/*/*.jpg", {}, "/"),
        ("in/m.csv", {}, "in"),
        ("m.csv", {}, "."),
        ("in/m.csv", {"table": TableSpec(image_root="elsewhere")}, "elsewhere"),
        ("in", {"allow_outside": True}, ""),
        ("gs://bucket/in", {}, ""),
        ("gs://bucket/in/m.csv", {}, ""),
    ],
)
def test_the_folder_that_files_must_lie_in_when_they_are_read(path, options, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert listing.bounds(InputSpec(path, **options)) == (folder and os.path.normpath(tmp_path / folder))


@pytest.mark.parametrize("pattern", ["", "/*/*", "/**", "/*/*/*"])
def test_no_chain_of_links_leaves_the_input(pattern, tmp_path):
    """A folder linked inside, in it a link to a link that leaves: what counts is where the whole path leads."""
    touch(tmp_path / "outside", "deep/secret.jpg")
    root = touch(tmp_path / "in", "cat/1.jpg", "cat/more/2.jpg", "links/3.jpg")
    (root / "links/out").symlink_to("../../outside")
    (root / "cat/inside").symlink_to("../links")
    (root / "cat/more/again").symlink_to("../inside/out/deep")

    sources, rejects = listed(f"{root}{pattern}")

    assert not [s for s in sources if "secret" in s.key]
    assert all(os.path.realpath(s.uri).startswith(f"{root}/") for s in sources)
    assert set(rejects.values()) == {"outside-input"}


def test_a_folder_whose_name_begins_like_the_inputs_is_outside(tmp_path):
    touch(tmp_path / "in-secret", "1.jpg")
    root = touch(tmp_path / "in", "cat/1.jpg")
    (root / "cat/link.jpg").symlink_to("../../in-secret/1.jpg")
    (root / "dog").symlink_to("../in-secret")
    assert listed(root)[1] == {f"{root}/cat/link.jpg": "outside-input", f"{root}/dog": "outside-input"}
    paths = ["../in-secret/1.jpg", "cat/link.jpg", "dog/1.jpg"]
    manifest = write(root / "m.jsonl", [{"path": p, "label": "cat"} for p in ["cat/1.jpg", *paths]])
    assert listed(manifest)[1] == dict.fromkeys(paths, "outside-input")


def test_a_manifests_row_through_a_linked_folder_leaves_too(tmp_path):
    touch(tmp_path / "outside", "deep/secret.jpg")
    root = touch(tmp_path / "in", "cat/1.jpg")
    (root / "out").symlink_to("../outside")
    (root / "out-again").symlink_to("out/deep")
    (root / "cat/out.jpg").symlink_to("../out/deep/secret.jpg")
    (root / "cat/again.jpg").symlink_to("1.jpg")
    paths = ["cat/1.jpg", "cat/again.jpg"]
    paths += ["out/deep/secret.jpg", "out-again/secret.jpg", "cat/../out/deep/secret.jpg", "cat/out.jpg"]
    paths += [f"{root}/cat/../../outside/deep/secret.jpg", f"{root}/.."]
    path = write(root / "m.jsonl", [{"path": p, "label": "cat"} for p in paths])

    sources, rejects = listed(path)

    assert [s.key for s in sources] == ["cat/1.jpg", "cat/again.jpg"]
    assert rejects == dict.fromkeys(paths[2:], "outside-input")
    assert len(listed(path, allow_outside=True)[0]) == 7  # one of the eight is named twice
