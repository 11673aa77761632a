"""Delimited text: what Python's csv writes is read back, and a stray quote swallows no row."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.inputs.rules import TableSpec
from pipelines.inputs.tables.formats import delimited_text, table_file


def read(text: str, delimiter: str = ",", width: int = 2) -> list[tuple[list[str], bool]]:
    """(cells, whether the record is good) of each record."""
    lines = io.StringIO(text, newline="")
    return [(cells, not why) for cells, why in delimited_text.read(lines, delimiter, width)]


signs = st.sampled_from([*'abc ,;|\t"\r\né', "\r\n", '""', "日"])
cells = st.lists(signs, max_size=6).map("".join)


@settings(max_examples=150)
@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\r\n", "\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_csv_writes_is_read_back(rows, delimiter, end, quoting):
    # A cell with both line ends and delimiters may look like whole rows between stray quotes: then it is a bad record.
    # Python's csv leaves other line ends than its own unquoted.
    rows = [[re.sub("\r\n|\r|\n", end, cell) for cell in row] for row in rows]
    rows = [[cell.replace(delimiter, "") if end in cell else cell for cell in row] for row in rows]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)

    assert read(out.getvalue(), delimiter, 3) == [(row, True) for row in rows]


plain = st.text(st.characters(codec="cp1252", exclude_categories=("Cc", "Cs")), max_size=8)


@settings(max_examples=100)
@given(
    rows=st.lists(st.tuples(plain, plain), min_size=1, max_size=5),
    dialect=st.sampled_from(["excel", "excel-tab", "unix"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
    suffix=st.sampled_from([".csv", ".tsv", ".txt"]),
)
def test_a_table_of_every_dialect_and_encoding_is_read_back(rows, dialect, encoding, suffix):
    out = io.StringIO(newline="")
    csv.writer(out, dialect).writerows([("path", "label"), *rows])
    table = table_file.parse(f"t{suffix}", out.getvalue().encode(encoding), TableSpec(), ("path", "label"))

    assert table.columns == ("path", "label")
    kept = [list(row) for row in rows if any(cell.strip() for cell in row)]
    assert [(row.cells, row.why) for row in table.rows((0, 1))] == [
        (["" if cell == "\\N" else cell for cell in row], "") for row in kept
    ]


def test_two_stray_quotes_cost_their_two_rows_and_none_between():
    rows = [f"{i}.jpg,{'cat' if i % 2 else 'dog'}" for i in range(300)]
    rows[10] = '10.jpg,"dog'
    rows[150] = '150.jpg,dog"'
    found = read("\n".join(rows) + "\n")

    assert len(found) == 300
    assert [i for i, (_, good) in enumerate(found) if not good] == [10, 150]
    assert found[11][0] == ["11.jpg", "cat"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a,x\nb,y\n', [(['"a', "x"], False), (["b", "y"], True)]),  # never closed
        ('a,"x\nb,y', [(["a", '"x'], False), (["b", "y"], True)]),
        ('"a"b,x\nc,y\n', [(['"a"b', "x"], False), (["c", "y"], True)]),
        ('"a,x\n"b,y\nc,z\n', [(['"a', "x"], False), (['"b', "y"], False), (["c", "z"], True)]),
        ('5" pipe,x\n', [(['5" pipe', "x"], True)]),
        ('a, "x, y"\n', [(["a", "x, y"], True)]),
        ('a,"one\ntwo"\n', [(["a", "one\ntwo"], True)]),
        ("a,x\r\nb,y\rc,z\n", [(["a", "x"], True), (["b", "y"], True), (["c", "z"], True)]),
        ("\n", [([""], True)]),
        ("", []),
    ],
)
def test_quotes_and_line_ends(text, expected):
    assert read(text) == expected


def test_a_record_of_more_lines_than_any_has_is_a_stray_quote():
    lines = ['a,"x', *["word"] * delimited_text.MOST_LINES, 'end"', "b,y"]
    found = read("\n".join(lines))

    assert found[0] == (["a", '"x'], False)
    assert found[-1] == (["b", "y"], True)
    assert len(found) == len(lines)


def test_many_quotes_that_are_not_closed_take_no_long_time():
    found = read('a,"x\n' * 20_000)

    assert len(found) == 20_000
    assert sum(good for _, good in found) == 0


def test_a_cell_of_a_million_characters_is_a_cell():
    mask = "12 3 " * 200_000
    assert read(f'a,{mask}\nb,"{mask}"\n') == [(["a", mask], True), (["b", mask], True)]
