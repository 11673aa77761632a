"""Tables as people have them: what is read, what is said, and what is refused with which remedy."""

from __future__ import annotations

import csv
import gzip
import json
import pathlib
import shlex
import subprocess
import sys
import tracemalloc

import pytest

from pipelines.core.elements import Source
from pipelines.core.errors import NothingUsableError, SourceError, TableError
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec, TableSpec
from pipelines.inputs.tables import manifest
from tests.support import object_stores

KEYS = ["img/0.jpg", "img/1.jpg"]
LABELS = ["Käse", "Brot"]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with empty files img/0.jpg and img/1.jpg: the listing opens none."""
    for key in KEYS:
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).touch()
    return tmp_path


def read(path: pathlib.Path | str, **options) -> tuple[str, list[Source], list[Rejected]]:
    """(what is said, sources, rejects) of a table."""
    spec = InputSpec(str(path), table=TableSpec(**options))
    [told] = listing.check(spec).told
    items = list(listing.list_sources(spec))
    return told, [i for i in items if isinstance(i, Source)], [i for i in items if isinstance(i, Rejected)]


def write(folder: pathlib.Path, content: str | bytes, name: str = "t.csv") -> pathlib.Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = "img/0.jpg,Käse\nimg/1.jpg,Brot\n"
GOOD = {
    "plain": ("t.csv", "path,label\n" + ROWS, "UTF-8, comma-separated"),
    "Excel, CSV UTF-8": ("t.csv", ("path,label\n" + ROWS).encode("utf-8-sig"), "UTF-8, comma-separated"),
    "Excel, German": ("t.csv", ("path,label\n" + ROWS).replace(",", ";").encode("cp1252"), "Windows-1252, semicolon-"),
    "Excel, Unicode text": ("t.txt", ("path,label\n" + ROWS).replace(",", "\t").encode("utf-16"), "UTF-16, tab-separ"),
    "no byte order mark": ("t.csv", ("path,label\n" + ROWS).encode("utf-16-le"), "UTF-16, comma-separated"),
    "sep": ("t.csv", "sep=;\r\n" + ("path,label\n" + ROWS).replace(",", ";"), "UTF-8, semicolon-separated"),
    "tabs": ("t.tsv", ("path,label\n" + ROWS).replace(",", "\t"), "UTF-8, tab-separated"),
    "gzip": ("t.csv.gz", gzip.compress(("path,label\n" + ROWS).encode()), "UTF-8, comma-separated"),
    "old Mac": ("t.csv", ("path,label\n" + ROWS).replace("\n", "\r"), "UTF-8, comma-separated"),
    "mixed line ends": ("t.csv", "path,label\r\nimg/0.jpg,Käse\nimg/1.jpg,Brot\r\n\r\n", "UTF-8, comma-separated"),
    "capitals and blanks": ("t.csv", " Image Path , Class\n" + ROWS.replace(",", " , "), "UTF-8, comma-separated"),
    "empty rows": ("t.csv", "path,label\n\n,\n" + ROWS + ",\n" * 20, "UTF-8, comma-separated"),
    "trailing delimiter": ("t.csv", "path,label,\nimg/0.jpg,Käse,\nimg/1.jpg,Brot,\n", "UTF-8, comma-separated"),
    "trailing in rows": ("t.csv", "path,label\nimg/0.jpg,Käse,\nimg/1.jpg,Brot,\n", "UTF-8, comma-separated"),
    "pandas with its index": ("t.csv", ",path,label\n0,img/0.jpg,Käse\n1,img/1.jpg,Brot\n", "UTF-8, comma-separated"),
    "R": ("t.csv", '"","file","class"\n"1","img/0.jpg","Käse"\n"2","img/1.jpg","Brot"\n', "UTF-8, comma-separated"),
    "MySQL": ("t.tsv", "path\tlabel\tsplit\nimg/0.jpg\tKäse\t\\N\nimg/1.jpg\tBrot\t\\N\n", "UTF-8, tab-separated"),
    "units": ("t.csv", "file;label;weight (g)\nimg/0.jpg;Käse;2,5\nimg/1.jpg;Brot;3,5\n", "UTF-8, semicolon-separated"),
    "Hugging Face": ("metadata.csv", "file_name,label\n" + ROWS, "UTF-8, comma-separated"),
    "Hugging Face, JSON lines": (
        "metadata.jsonl",
        "".join(json.dumps({"file_name": k, "label": v}) + "\n" for k, v in zip(KEYS, LABELS, strict=True)),
        "UTF-8, JSON lines",
    ),
    "JSON lines, gzip": (
        "t.jsonl.gz",
        gzip.compress(b'{"image": "img/0.jpg", "category": "K\\u00e4se"}\n{"image": "img/1.jpg", "category": "Brot"}'),
        "UTF-8, JSON lines",
    ),
    "more quotes": ("t.csv", '"path";"label"\n"img/0.jpg"; "Käse"\n"img/1.jpg";"Brot"\n', "UTF-8, semicolon-"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_a_table_whose_meaning_is_plain_is_read_and_said(kind, folder):
    name, content, form = GOOD[kind]
    told, sources, rejects = read(write(folder, content, name))

    assert [(s.key, s.label, s.split, s.weight) for s in sources] == [
        ("img/0.jpg", "Käse", "", 1.0), ("img/1.jpg", "Brot", "", 1.0),
    ]  # fmt: skip
    assert rejects == []
    assert told.startswith(f"Reads '{folder / name}' as {form}")
    assert told.endswith("; 2 rows.")


def test_the_sentence_names_the_columns_and_what_is_not_read(folder):
    told, _, _ = read(write(folder, "Image ,Class,rle\nimg/0.jpg,a,1\nimg/1.jpg,b,2\n"))
    assert told == (
        f"Reads '{folder}/t.csv' as UTF-8, comma-separated, columns 'Image ' as path and 'Class' as label "
        "(not read: 'rle'); 2 rows."
    )


REFUSED = {
    "two paths": ("image,filename,label\nimg/0.jpg,0.jpg,a\n", "'image', 'filename'. Name it: --path-column image"),
    "two labels": ("path,class,target\nimg/0.jpg,a,b\n", "the label: 'class', 'target'. Name it: --label-column class"),
    "no label": ("path,what\nimg/0.jpg,a\n", "It has 'path', 'what'. Name it: --label-column COLUMN"),
    "no path": ("a,label\nimg/0.jpg,a\n", "plainly the path of an image. It has 'a', 'label'. Name it: --path-column"),
    "ids": ("id,label\n0,a\n", "For '0' there is '{0}/img/0.jpg'. Say: --suffix .jpg --image-root {0}/img"),
    "no heading": ("img/0.jpg,a\n", "is no heading: 'img/0.jpg', 'a'. If the table has none: --no-heading."),
    "delimiter": ("x,y;z\n1,2;3\n", "comma or semicolon. Its first line is 'x,y;z'. Say it: --delimiter comma"),
    "sep": ("sep=#\npath#label\n", "The first line of '{0}/t.csv' says that '#' separates"),
    "a spreadsheet": (b"PK\x03\x04...", "a ZIP archive or a spreadsheet. Save it as CSV"),
    "Cyrillic": ("path,label\nimg/0.jpg,хлеб\n".encode("cp1251"), "is not UTF-8 (line 2), and it is not plain"),
    "Japanese": ("path,label\nimg/0.jpg,猫\n".encode("shift_jis"), "--table-encoding cp1251, shift_jis"),
    "damaged UTF-8": (b"path,label\nimg/0.jpg,K\xc3\xa4se\nimg/1.jpg,K\xe4se\n", "is not UTF-8 (line 3)"),
    "one-hot": ("image,MEL,NV\nimg/0.jpg,1.0,0.0\nimg/1.jpg,0.0,1.0\n", "several columns of 0 and 1 ('MEL', 'NV')"),
    "several": ("filename, a, b\nimg/0.jpg, 1, 1\nimg/1.jpg, 0, 1\n", "1 of the first 2 rows have none or several"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_plain_is_refused_with_the_option(kind, folder):
    content, said = REFUSED[kind]
    with pytest.raises(TableError) as raised:
        read(write(folder, content))
    assert said.format(folder) in str(raised.value)
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("id,label\n0,Käse\n1,Brot\n", {"path_column": "id", "suffix": ".jpg", "image_root": "{0}/img"}),
        ("id,label\n0,Käse\n1,Brot\n", {"suffix": ".jpg", "image_root": "{0}/img"}),
        ("0.jpg,Käse\n1.jpg,Brot\n", {"heading": False, "image_root": "{0}/img"}),
        ("7,0.jpg,x,Käse\n7,1.jpg,x,Brot\n", {"heading": False, "label_column": "4", "image_root": "{0}/img"}),
        ("path#x,path,kind\n0,0.jpg,Käse\n1,1.jpg,Brot\n", {"label_column": " KIND", "image_root": "{0}/img"}),
        ("label,label,path\nx,Käse,0.jpg\ny,Brot,1.jpg\n", {"label_column": "2", "image_root": "{0}/img"}),
        ("path|label\nC:\\d\\0.jpg|Käse\nC:\\d\\1.jpg|Brot\n",
         {"windows_paths": True, "path_prefix": (("C:\\d", "."),), "image_root": "{0}/img"}),
        ("path,label\n/home/ann/0.jpg,Käse\n/home/ann/1.jpg,Brot\n",
         {"path_prefix": (("/home/an", "x"), ("/home/ann", "{0}/img")), "image_root": "{0}/img"}),
        ("path,label\nhttps://h/d/0.jpg,Käse\nhttps://h/d/1.jpg,Brot\n",
         {"path_prefix": (("https://h/d/", "."),), "image_root": "{0}/img"}),
        ("path label\n0.jpg Käse\n1.jpg Brot\n", {"delimiter": "space", "image_root": "{0}/img"}),
    ],
)  # fmt: skip
def test_options_read_what_is_not_plain(content, options, folder):
    def filled(value):
        if isinstance(value, tuple):
            return tuple((old, new.format(folder)) for old, new in value)
        return value.format(folder) if isinstance(value, str) else value

    _, sources, rejects = read(write(folder, content), **{name: filled(value) for name, value in options.items()})

    assert [(s.key, s.uri, s.label) for s in sources] == [
        ("0.jpg", f"{folder}/img/0.jpg", "Käse"), ("1.jpg", f"{folder}/img/1.jpg", "Brot"),
    ]  # fmt: skip
    assert rejects == []


def test_the_documented_names_win_over_others(folder):
    told, sources, _ = read(write(folder, "Label,label,image,path\nx,Käse,y,img/0.jpg\nx,Brot,y,img/1.jpg\n"))

    assert [(s.key, s.label) for s in sources] == list(zip(KEYS, LABELS, strict=True))
    assert "columns 'path' as path and 'label' as label (not read: 'Label', 'image')" in told


def test_another_encoding_can_be_named(folder):
    path = write(folder, "path,label\nimg/0.jpg,хлеб\nimg/1.jpg,сыр\n".encode("cp1251"))
    assert [s.label for s in read(path, encoding="cp1251")[1]] == ["хлеб", "сыр"]


def test_columns_that_do_not_exist_and_one_for_two_roles(folder):
    path = write(folder, "path,label\n" + ROWS)
    for options, said in (
        ({"label_column": "class"}, "--label-column 'class': '.*' has no such column. It has 'path', 'label'"),
        ({"label_column": "3"}, "has no such column"),
        ({"label_column": "path"}, "cannot be both the path and the label"),
        ({"group_column": "label"}, "cannot be both the label and the group"),
    ):
        with pytest.raises(TableError, match=said):
            read(path, **options)


def test_weights_may_have_a_decimal_comma(folder):
    path = write(folder, "path;label;weight\nimg/0.jpg;a;0,5\nimg/1.jpg;b;1,125\n")
    told, sources, rejects = read(path)
    assert ([s.weight for s in sources], rejects) == ([0.5, 1.125], [])
    assert "'weight' as weight, with a comma as the decimal sign of 'weight'; 2 rows." in told

    path.write_text("path;label;weight\nimg/0.jpg;a;2\nimg/1.jpg;b;1,125\n")  # it may be a thousand
    _, sources, [rejected] = read(path)
    assert [s.weight for s in sources] == [2.0]
    assert rejected.detail.endswith("Received: '1,125': write it with a point in place of the comma")


def test_a_column_called_split_can_be_left_aside(folder):
    path = write(folder, "path,label,split\nimg/0.jpg,Käse,0\nimg/1.jpg,Brot,1\n")

    with pytest.raises(NothingUsableError, match=r"Received: '0'\. If these are folds, .* --split-column none leaves"):
        read(path)
    assert [s.split for s in read(path, split_column="none")[1]] == ["", ""]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("C:\\data\\img\\0.jpg", "those of Windows, .* Say: --windows-paths --path-prefix C:/data=."),
        ("img\\0.jpg", "Say: --windows-paths$"),
        ("/home/ann/data/img/0.jpg", "there is '{0}/img/0.jpg'. Say: --path-prefix /home/ann/data=."),
        ("/home/ann/other.jpg", "is one of another machine: --path-prefix OLD=NEW"),
        ("https://example.org/img/0.jpg", "are addresses on the web, .* Download the images"),
        ("0.jpg", "there is '{0}/img/0.jpg'. Say: --image-root {0}/img$"),
        ("img/0", "Say: --suffix .jpg$"),
        ("nowhere/9", "has no ending of an image: --suffix .jpg adds one"),
        ("nowhere/9.jpg", "--image-root FOLDER names the folder in which the paths begin"),
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere_are_told_as_what_they_are(cell, said, folder):
    with pytest.raises(NothingUsableError, match=said.format(folder)):
        read(write(folder, f"path,label\n{cell},a\n"))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a|b", "a", "b", "c|a"] * 5, r"separated by '\|', in 5 of 20 rows: 'a\|b'\."),
        (["a;b", "a;c", "b;c", "a;b;c"] * 5, "separated by ';', in 20 of 20 rows"),
        (['"a, b"', "a", "b", '"b, a"'] * 5, "separated by ',', in 10 of 20 rows"),
        (["scab", "rust", "scab rust", "healthy"] * 5, "separated by blanks, in 5 of 20 rows"),
        (["\"['a', 'b']\"", "['a']"] * 5, "holds a list of labels for each image"),
        ([f"{i}.5" for i in range(20)], "20 of 20 labels in the column 'label' of '.*' are numbers that occur once"),
        ([str(i) for i in range(1000, 1020)], "this looks like regression"),
        ([f"{i % 25}.25" for i in range(100)], "100 of 100 labels .* are numbers with fractions"),
    ],
)
def test_labels_that_are_no_classes_are_refused_by_name(labels, said, folder):
    text = "path,label\n" + "".join(f"img/{i}.jpg,{label}\n" for i, label in enumerate(labels))
    path = write(folder, text)

    with pytest.raises(TableError, match=said):
        read(path)
    with pytest.raises(TableError, match=said):  # the job sees all rows, too
        list(listing.list_sources(InputSpec(str(path))))
    assert len(read(path, single_label=True)[1]) == len(labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["golden retriever", "labrador retriever", "tabby cat", "siamese cat"] * 5,
        ["Cherry, sour", "Banana, red", "Apple"] * 5,
        ["red|round", "blue|square"] * 5,
        [str(i % 10) for i in range(100)],
        [f"{i % 5}.0" for i in range(100)],
        ["0.5", "1.5", "2.5"] * 10,
        ["1", "2", "3"],
    ],
)
def test_labels_that_are_classes_are_read(labels, folder):
    text = "path,label\n" + "".join(f'img/{i}.jpg,"{label}"\n' for i, label in enumerate(labels))
    assert [s.label for s in read(write(folder, text))[1]] == labels


def test_labels_that_are_lists_in_json_are_refused(folder):
    path = write(folder, "".join(json.dumps({"path": k, "label": ["a", "b"]}) + "\n" for k in KEYS), "t.jsonl")
    with pytest.raises(TableError, match="holds a list of labels for each image"):
        read(path)


def test_a_row_with_more_cells_than_the_heading_is_bad_and_not_cut(folder):
    _, sources, [bad] = read(write(folder, "path,label\nimg/0.jpg,Käse, hart\nimg/1.jpg,Brot\n"))

    assert [s.label for s in sources] == ["Brot"]
    assert bad.reason == "bad-row"
    assert bad.detail.startswith("Row 1 has 3 cells, and the heading has 2. Put quotes around")


def test_a_stray_quote_is_one_bad_row(folder):
    _, sources, [bad] = read(write(folder, 'path,label\nimg/0.jpg,"Käse\nimg/1.jpg,Brot\n'))

    assert [s.label for s in sources] == ["Brot"]
    assert (bad.uri, bad.label) == ("img/0.jpg", "")  # nobody knows its class, so no class is lost
    assert bad.detail == (
        "Row 1 has a quote that is not closed in its line. Take it out, or double it and quote the whole cell."
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv.gz", b"path,label\n", "its name ends in .gz, but it is not gzip"),
        ("t.csv.gz", gzip.compress(b"path,label\n" * 100)[:-20], "its gzip data are damaged"),
    ],
    ids=["no gzip", "cut"],
)
def test_gzip_that_is_none_or_damaged(name, content, said, folder):
    with pytest.raises(SourceError, match=said):
        read(write(folder, content, name))


def test_a_small_gzip_takes_little_memory(folder):
    """A read with a limit of 8 GiB reserves all of it first, which fails on a machine with less."""
    path = write(folder, gzip.compress(("path,label\n" + ROWS).encode()), "t.csv.gz")
    read(path)
    tracemalloc.start()
    try:
        read(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_text_that_gzip_makes_too_large_is_refused(folder, monkeypatch):
    monkeypatch.setattr("pipelines.inputs.tables.formats.table_file.MAX_BYTES", 1000)
    with pytest.raises(SourceError, match="has more than 1000 bytes of text"):
        read(write(folder, gzip.compress(b"path,label\n" + b"\n" * 1000), "t.csv.gz"))


def test_a_remote_table_is_read_and_said_in_the_same_way():
    with object_stores.in_memory() as store:
        store.objects = {"gs://b/in/t.csv.gz": gzip.compress("Datei;Klasse\n0;Käse\n".encode("cp1252"))}
        options = {"path_column": "datei", "label_column": "klasse", "suffix": ".jpg", "image_root": "gs://b/photos/"}
        told, sources, rejects = read("gs://b/in/t.csv.gz", **options)

    assert told.endswith("as Windows-1252, semicolon-separated, columns 'Datei' as path and 'Klasse' as label; 1 row.")
    assert [s[:3] for s in sources] == [("0.jpg", "gs://b/photos/0.jpg", "Käse")]
    assert rejects == []


def test_images_are_found_by_name_in_any_folder(folder):
    """As of collections in several parts, or in folders of a hash; endings may be missing."""
    for name in ("part_1/a.jpg", "part_2/b.JPG", "part_2/c.jpg", "part_1/c.jpg", "part_1/notes.txt", ".trash/a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    rows = b"id,label\na,x\nb,x\nc,y\npart_1/c,z\nnotes,x\nd,x\nc.jpg,y\n"
    told, sources, rejects = read(write(folder, rows), find_images=True)

    assert "columns 'id' as path and 'label' as label" in told
    assert [(s.key, s.label) for s in sources if s.key != "notes" and s.key != "d"] == [
        ("part_1/a.jpg", "x"), ("part_2/b.JPG", "x"), ("part_1/c.jpg", "z"),
    ]  # fmt: skip
    assert [s.key for s in sources if not pathlib.Path(s.uri).exists()] == ["notes", "d"]  # missing, as any other path
    assert [(r.reason, "several files have" in r.detail) for r in rejects] == [("bad-row", True)] * 2


def test_a_table_whose_images_are_in_several_folders_says_the_option(folder):
    for name in ("part_1/a.jpg", "part_2/b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    table = write(folder, b"id,label\na,x\nb,x\n")
    with pytest.raises(TableError, match=r"The images are in several folders\. Say: --find-images$"):
        read(table)
    (folder / "part_2/b.jpg").rename(folder / "part_1/b.jpg")
    with pytest.raises(TableError, match=r"Say: --suffix \.jpg --image-root .*part_1$"):
        read(table)


CASES = {
    "08-*/train_labels.csv": ({"path_column": "id", "suffix": ".jpg", "image_root": "{0}/train"}, {"0": 30, "1": 30}),
    "08-*/renamed.csv": ({"suffix": ".jpg", "image_root": "{0}/train"}, {"0": 30, "1": 30}),
    "08-*/prefixed.csv": ({"suffix": ".jpg"}, {"0": 30, "1": 30}),
    **{
        f"09-*/{name}": ({}, {"Käse": 30, "Brot": 30})
        for name in (
            "semicolon.csv", "cp1252.csv", "utf16.csv", "semicolon-cp1252.csv", "tabs.tsv", "tabs.csv", "cr-only.csv",
            "sep-line.csv", "spaces.csv", "capitals.csv", "excel-tail.csv", "quoted-all.csv",
        )
    },
    "09-*/no-header.csv": ({"heading": False}, {"Käse": 30, "Brot": 30}),
    "09-*/list.txt": ({"heading": False}, {"0": 30, "1": 30}),
    "28-*/pipe.csv": ({}, "several labels"),
    "28-*/list.jsonl": ({}, "list of labels"),
    "28-*/onehot.csv": ({}, "several columns of 0 and 1"),
    "28-*/onehot-path.csv": ({}, "several columns of 0 and 1"),
    "28-*/rf/train/_classes.csv": ({}, "several columns of 0 and 1"),
    "29-*/angles.csv": ({}, "200 of 200 labels .* are numbers that occur once"),
    "37-*/rle.csv": ({}, {"no": 30, "yes": 30}),
    "37-*/train.csv.gz": ({}, {"no": 30, "yes": 30}),
}  # fmt: skip


@pytest.fixture(scope="session")
def drawn(real_data, tmp_path_factory):
    """Draws a case of the folder `cases` once; returns its folder."""
    made: dict[str, pathlib.Path] = {}

    def draw(case: str) -> pathlib.Path:
        [maker] = (real_data / "cases").glob(f"{case}/make.py")
        if case not in made:
            made[case] = tmp_path_factory.mktemp("case")
            subprocess.run([sys.executable, str(maker), str(made[case])], check=True, timeout=120)
        return made[case]

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("where", CASES)
def test_the_tables_of_the_cases(where, drawn):
    options, expected = CASES[where]
    case, _, name = where.partition("/")
    root = drawn(case)
    options = {key: value.format(root) if isinstance(value, str) else value for key, value in options.items()}
    if isinstance(expected, str):
        with pytest.raises(TableError, match=expected):
            read(root / name, **options)
        return
    _, sources, rejects = read(root / name, **options)

    assert {label: sum(s.label == label for s in sources) for label in {s.label for s in sources}} == expected
    assert all(pathlib.Path(s.uri).is_file() for s in sources)
    assert rejects == []


def table_of(folder, rows, name="t.csv", heading="path,label\n"):
    path = folder / name
    path.write_text(heading + "".join(rows))
    return path


def test_splits_in_the_paths_of_a_table_are_asked_about(tmp_path):
    keys = [f"{split}/{label}/{i}.jpg" for split in ("train", "val") for label in "ab" for i in range(3)]
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    path = table_of(tmp_path, [f"{key},{key.split('/')[1]}\n" for key in keys])
    with pytest.raises(
        TableError, match=r"train \(6 rows\), val \(6 rows\)\. No column .* --split-names train=train,val"
    ):
        read(path)
    assert {s.split for s in read(path, split_column="none")[1]} == {""}
    spec = InputSpec(str(path), split_names=(("train", "train"), ("val", "validation")))
    found = list(listing.list_sources(spec))
    assert [s.split for s in found] == ["train"] * 6 + ["validation"] * 6
    *_, last = listing.list_sources(InputSpec(str(path), split_names=(("train", "train"),)))
    assert (last.reason, last.detail) == ("left-aside", "Row 12 is outside of the folders of --split-names: train.")
    path.write_text("path,label,split\n" + "".join(f"{key},a,test\n" for key in keys))
    assert {s.split for s in read(path)[1]} == {"test"}  # a column states it


@pytest.mark.parametrize(
    ("heading", "cells", "option"),
    [
        ("Usage", "Training Training PublicTest PrivateTest", "Usage"),
        ("data set", "train valid  test", "'data set'"),
        ("", "TRAIN TEST TRAIN VALIDATION", "3"),
    ],
)
def test_a_column_of_splits_with_another_heading_is_asked_about(heading, cells, option, tmp_path):
    splits = cells.split(" ")
    rows = [f"{i}.jpg,{'ab'[i % 2]},{split}\n" for i, split in enumerate(splits)]
    (tmp_path / "0.jpg").touch()
    table = table_of(tmp_path, rows, heading=f"path,label,{heading}\n")
    with pytest.raises(TableError) as e:
        read(table)
    assert "has names of splits: " in str(e.value)
    assert f"--split-column {option}. Or draw new splits of all rows: --split-column none." in str(e.value)
    _, found, _ = read(table, split_column=shlex.split(option)[0])
    assert len({source.split for source in found}) == len(set(splits))
    assert {source.split for source in read(table, split_column="none")[1]} == {""}


@pytest.mark.parametrize(("heading", "cells"), [("is_train", "1 0 1"), ("Is Training", "True False True")])
def test_a_column_that_marks_the_rows_of_a_split_is_asked_about(heading, cells, tmp_path):
    rows = [f"{i}.jpg,{'ab'[i % 2]},{cell}\n" for i, cell in enumerate(cells.split())]
    for i in range(3):
        (tmp_path / f"{i}.jpg").touch()
    table = table_of(tmp_path, rows, heading=f"path,label,{heading}\n")
    with pytest.raises(TableError, match=rf"'{heading}' .* which rows are of a split\. .* --split-column none"):
        read(table)
    _, sources, _ = read(table, split_column="none")
    assert {source.split for source in sources} == {""}
    others = table_of(tmp_path, [row.replace(",1\n", ",2\n") for row in rows], heading="path,label,is_big\n")
    assert len(read(others)[1]) == 3


@pytest.mark.parametrize("cells", ["train train train", "test test val", "train test car", "1 0 1", "  "])
def test_columns_of_other_words_state_no_splits(cells, tmp_path):
    rows = [f"{i}.jpg,{'ab'[i % 2]},{cell}\n" for i, cell in enumerate(cells.split(" "))]
    (tmp_path / "0.jpg").touch()
    told, found, _ = read(table_of(tmp_path, rows, heading="path,label,other\n"))
    assert "not read: 'other'" in told
    assert {source.split for source in found} == {""}


def test_names_in_another_case_and_images_in_a_container_are_told(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"x")
    table = tmp_path / "t.csv"
    table.write_text("path,label\n1.JPG,a\n")
    with pytest.raises(NothingUsableError, match="case of its name differs") as e:
        listing.check(InputSpec(str(table)))
    assert "--path-from '{COLUMN.stem}.jpg'" in str(e.value)
    assert [source.key for source in read(table, path_from="{path.stem}.jpg")[1]] == ["1.jpg"]
    (tmp_path / "train.zip").write_bytes(b"PK")
    table.write_text("path,label\n2.jpg,a\n")
    with pytest.raises(NothingUsableError, match=r"unpack '\S+train.zip', .* with --image-root FOLDER"):
        listing.check(InputSpec(str(table)))


def test_splits_in_the_names_of_files_are_asked_about(tmp_path):
    """As RAF-DB has them."""
    names = [f"{split}_{i:05}.jpg" for split in ("train", "test") for i in range(6)]
    for name in names:
        (tmp_path / name).touch()
    path = table_of(tmp_path, [f"{name} {i % 3}\n" for i, name in enumerate(names)], "list.txt", "")
    with pytest.raises(TableError, match=r"train \(6 rows\)\. .* --split-names 'test\*=test,train\*=train'"):
        read(path, heading=False)
    stated = (("train*", "train"), ("test*", "test"))
    spec = InputSpec(str(path), split_names=stated, table=TableSpec(heading=False))
    assert [s.split for s in listing.list_sources(spec)] == ["train"] * 6 + ["test"] * 6


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("1 Boeing 707\n2 A300\n3 Cessna 172\n4 A300\n", [("1", "Boeing 707"), ("2", "A300"), ("3", "Cessna 172")]),
        (
            "my photo.jpg red fox\nb.jpg cat\nc.jpg cat\nd.jpg grey seal\n",
            [("my photo.jpg", "red fox"), ("b.jpg", "cat")],
        ),
    ],
)
def test_a_list_whose_labels_have_blanks(tmp_path, text, cells):
    (tmp_path / "list.txt").write_text(text)
    spec = InputSpec(str(tmp_path / "list.txt"), table=TableSpec(heading=False, find_images=True))
    opened, _ = manifest.open_table(spec)
    assert "blank-separated, with all behind the name as one cell" in opened.told
    assert [(row.values["path"], row.values["label"]) for row in opened.rows][: len(cells)] == cells


def test_a_single_row_with_more_words_is_a_bad_row(tmp_path):
    for i in range(30):
        (tmp_path / f"{i}.jpg").touch()
    path = table_of(tmp_path, [f"{i}.jpg cat{' and dog' * (i == 7)}\n" for i in range(30)], "list.txt", "")
    _, sources, [rejected] = read(path, heading=False)
    assert len(sources) == 29
    assert "Row 8 has 4 cells" in rejected.detail


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [f"{i}.jpg,n0{i % 3} {i} 2 30 40\n" for i in range(40)],
            "are followed by the four numbers of boxes, such as 'n00 0",
        ),
        (
            [f"{i}.jpg,a photo of {i} cats\n" for i in range(40)],
            "40 of 40 labels in the column 'label' of .* occur once",
        ),
    ],
)
def test_boxes_and_texts_are_no_classes(tmp_path, rows, said):
    for i in range(40):
        (tmp_path / f"{i}.jpg").touch()
    path = table_of(tmp_path, rows)
    with pytest.raises(TableError, match=said):
        read(path)
    assert len(read(path, single_label=True)[1]) == 40


def test_pixels_in_cells_are_told_as_such(tmp_path):
    path = table_of(
        tmp_path, [f"{i},{' '.join(['7'] * 64)},Training\n" for i in range(4)], heading="emotion,pixels,Usage\n"
    )
    with pytest.raises(
        TableError, match=r"The column 'pixels' of .* has 64 numbers for each image, which seem to be its"
    ):
        read(path)
    heading = "label," + ",".join(f"pixel{i}" for i in range(64)) + "\n"
    path = table_of(tmp_path, ["1" + ",7" * 64 + "\n"] * 4, heading=heading)
    with pytest.raises(TableError, match=r"65 columns of .* have 65 numbers for each image"):
        read(path)


def test_names_and_files_without_an_ending(tmp_path):
    """As ids of tables, and as names of files: nothing is put behind a path that has its file."""
    (tmp_path / "img").mkdir()
    for i in range(4):
        (tmp_path / f"img/x{i}").touch()
    path = table_of(tmp_path, [f"img/x{i},{i % 2}\n" for i in range(4)])
    assert [s.key for s in read(path)[1]] == [f"img/x{i}" for i in range(4)]
    path = table_of(tmp_path, [f"x{i},{i % 2}\n" for i in range(4)])
    with pytest.raises(NothingUsableError, match=r"Say: --image-root [^ ]*/img$"):
        read(path)
    path = table_of(tmp_path, [f"x{i},{i % 2}\n" for i in range(4)], heading="id,label\n")
    assert [s.key for s in read(path, path_column="id", image_root=str(tmp_path / "img"))[1]] == [
        f"x{i}" for i in range(4)
    ]
    path = table_of(tmp_path, [f"x{i},{i % 2}\n" for i in range(4)], heading="")
    with pytest.raises(
        TableError, match=r"Its first row has 'x0', '0'\. Name the columns by number, such as --path-col"
    ):
        read(path, heading=False)
    assert len(read(path, heading=False, find_images=True)[1]) == 4


def test_the_limit_of_pythons_csv_is_as_it_was():
    """Other code of the process may rely on it."""
    assert csv.field_size_limit() == 131_072


def test_comments_before_the_rows_are_skipped(tmp_path):
    """As the list of the Oxford pets begins; a single line with # is the heading."""
    text = "#Image CLASS-ID\n#ID: 1:37 Class ids\n#BREED 1-25\nAbyssinian_1 1\nBengal_2 6\n"
    for name in ("Abyssinian_1.jpg", "Bengal_2.jpg", "1.jpg", "#1.jpg", "#2.jpg", "3.jpg"):
        (tmp_path / name).touch()
    path = write(tmp_path, text, "list.txt")
    spec = {"heading": False, "path_column": "1", "label_column": "2", "suffix": ".jpg"}
    with pytest.raises(TableError, match="no heading: --no-heading, and name the columns by number"):
        read(path)
    told, sources, _ = read(path, **spec)
    assert "blank-separated, after 3 lines of comments, columns" in told
    assert [(s.key, s.label) for s in sources] == [("Abyssinian_1.jpg", "1"), ("Bengal_2.jpg", "6")]

    path.write_text("#path,label\n1.jpg,cat\n")
    assert [s.key for s in read(path, path_column="#path")[1]] == ["1.jpg"]
    path.write_text("#1.jpg cat\n#2.jpg cat\n3.jpg dog\n")
    assert [s.key for s in read(path, heading=False)[1]] == ["#1.jpg", "#2.jpg", "3.jpg"]
