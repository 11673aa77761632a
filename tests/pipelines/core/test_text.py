"""The tables of the terminal, letter by letter."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import types

import pytest

from pipelines.cli import summary_table
from pipelines.core import text as tables
from pipelines.core.summary import ClassCounts, Rejected, Summary


def test_columns_are_aligned_under_their_headings():
    text = tables.table(("name", "count", "share"), [("a", 1234567, 0.5), ("longer", 8, "n/a")])

    assert text.split("\n") == [
        "name        count  share",
        "------  ---------  -----",
        "a       1,234,567    0.5",
        "longer          8    n/a",
    ]


def test_a_table_without_rows_is_its_heading():
    assert tables.table(("a", "bc"), []) == "a  bc\n-  --"


def test_a_row_of_another_length_is_an_error():
    with pytest.raises((ValueError, IndexError)):
        tables.table(("a", "b"), [("only",)])


def summary(**changes) -> Summary:
    plain = {
        "read": 16,
        "classes": {
            "train": {"ant": ClassCounts(10, 8, 0, 2), "bee": ClassCounts(3, 8, 5, 0)},
            "test": {"ant": ClassCounts(1, 1, 0, 0), "bee": ClassCounts()},
        },
        "rejected": {},
        "rejects": (), "formats": {}, "conversions": {}, "widths": {}, "heights": {}, "file_bytes": {},
        "pixel_histogram": {}, "duplicate_groups": 0, "conflicting_groups": 0, "straddling_groups": 0,
        "duplicates": (), "thumbnails": (), "settings": {}, "warnings": (),
        "engine": {"runner": "FnApiRunner", "seconds": 2.04, "images_per_second": 8.4},
    }  # fmt: skip
    return Summary(**{**plain, **changes})


SPLITS = {"train": types.SimpleNamespace(shards=(1, 2)), "test": types.SimpleNamespace(shards=(3,))}
CONTRACT = types.SimpleNamespace(like=None, splits=SPLITS, all_splits=SPLITS, unlabelled=None)


def test_the_summary_of_a_clean_run():
    assert summary_table.summary_table(CONTRACT, summary()).split("\n") == [
        "split/class  images  originals  copies  left out  records",
        "-----------  ------  ---------  ------  --------  -------",
        "train/ant        10          8       0         2        8",
        "train/bee         3          3       5         0        8",
        "test/ant          1          1       0         0        1",
        "test/bee          0          0       0         0        0",
        "train, all       13         11       5         2       16",
        "test, all         1          1       0         0        1",
        "",
        "Read 16, rejected 0 (none), wrote 17 records in 3 shards.",
        "FnApiRunner, 2.0 s, 8 records/s.",
    ]


def test_the_summary_names_rejects_duplicates_and_warnings():
    text = summary_table.summary_table(
        CONTRACT,
        summary(
            rejected={"empty": 1, "not-an-image": 1200},
            duplicate_groups=4,
            conflicting_groups=3,
            warnings=("Split test has no image of: bee.", "More."),
        ),
    )

    assert text.split("\n")[-5:] == [
        "Read 16, rejected 1,201 (empty 1, not-an-image 1200), wrote 17 records in 3 shards.",
        "Equal images: 4 groups, 3 under conflicting labels.",
        "warning: Split test has no image of: bee.",
        "warning: More.",
        "FnApiRunner, 2.0 s, 8 records/s.",
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("what was wrong\nand where"), "what was wrong"),
        (ValueError("\n  what was wrong\n"), "what was wrong"),
        (ValueError('Graph execution error:\n\nDetected at node Cast\n  File "a.py", line 3\nbad cast\n [[{{node}}]]'),
         "bad cast"),
        (ValueError("File not found: filepath=model.keras"), "File not found: filepath=model.keras"),
        (ValueError("{{function_node __wrapped__DecodePng}} Invalid PNG data, size 8 [Op:DecodePng] name: "),
         "Invalid PNG data, size 8"),
        (ValueError("bad scan\n\t [[{{node cond/DecodeJpeg}}]] [Op:__inference_fn_9]"), "bad scan"),
        (ValueError("bad scan [[{{node cond_true_43}}{{node cond/DecodeJpeg}}]] [Op:x_9]"), "bad scan"),
        (ValueError("{{node cast}} \n"), "ValueError"),
        (ValueError(""), "ValueError"),
        (ValueError("x" * 500), "x" * 300),
    ],
)  # fmt: skip
def test_the_line_of_an_error_that_says_what_was_wrong(error, line):
    assert tables.first_line(error) == line


def test_the_line_of_an_error_is_cut_at_the_limit():
    assert tables.first_line(ValueError("y" * 500), limit=400) == "y" * 400


def test_a_detail_of_a_reject_is_cut_wherever_it_is_made():
    details = [Rejected("u", "l", "", "", "decode", "undecodable", "x" * n).detail for n in (999, 1000, 1001, 10**6)]
    assert details == ["x" * 999, "x" * 1000, *["x" * 999 + "…"] * 2]
    assert dataclasses.replace(Rejected("u", "l", "", "", "d", "r", "x" * 2000), label="m").detail == details[-1]


def test_texts_and_the_terminal_load_neither_tensorflow_nor_beam():
    code = (
        "import sys, pipelines.core.text, pipelines.core.console.terminal\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'tensorflow', 'apache_beam', 'numpy', 'keras'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_count_has_its_noun_in_the_singular_or_plural():
    counts = [(0, "shard"), (1, "shard"), (1200, "shard"), (1, "class", "classes"), (2, "class", "classes")]

    assert [tables.plural(*c) for c in counts] == ["0 shards", "1 shard", "1,200 shards", "1 class", "2 classes"]


def test_of_many_names_the_first_are_listed_and_the_others_counted():
    assert tables.listed([], 2) == ""
    assert tables.listed(["a", "b"], 2) == "a, b"
    assert tables.listed("abc", 2) == "a, b and 1 more"
    assert tables.listed(iter(range(2000)), 1, "; ") == "0 and 1,999 more"


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("cat", True), ("می\u200cخواهم", True), ("क\u094d\u200dष", True), ("👩\u200d🌾", True), ("a\u00a0b", True),
        ("a\u3000b", True), ("", False), ("  ", False), ("\u3000", False), ("a\nb", False), ("a\x00", False),
        ("\u202eabc", False),
        ("a\u2028b", False), ("\ud800", False),
    ],
)  # fmt: skip
def test_labels_of_every_script(label, allowed):
    assert tables.is_label(label) is allowed
