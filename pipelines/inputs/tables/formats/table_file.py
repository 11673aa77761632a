"""Reads the bytes of a table as rows: delimited text, JSON lines or Parquet.

Delimiter, encoding and compression are found out where they are plain.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines import storage
from pipelines.core.errors import SourceError, TableError
from pipelines.core.files import reading
from pipelines.core.text import cut, plural
from pipelines.inputs.rules import IMAGE_SUFFIXES, TableSpec
from pipelines.inputs.tables.formats import delimited_text, text_encoding
from pipelines.inputs.tables.formats.delimited_text import DELIMITERS

MAX_BYTES = 8 << 30
MAX_TOLD = 80  # characters of a line that a sentence repeats
SNIFFED = 50  # lines that show the delimiter
COUNTED = 10_000  # lines that show whether all rows have as many words
_NAME = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))\s+(.*)", re.IGNORECASE)
KEYS_FROM = 1000  # rows of JSON lines whose keys are the columns
_ADJECTIVES = {"comma": "comma-separated", "semicolon": "semicolon-separated", "tab": "tab-separated",
               "pipe": "pipe-separated", "space": "blank-separated"}  # fmt: skip
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet. Save it as CSV (in a spreadsheet: File, Save as, CSV UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet. Save it as CSV (File, Save as, CSV UTF-8)",
    b"%PDF": "a PDF. Write its table as CSV",
}


class Row(NamedTuple):
    """Holds one row of a table.

    Attributes:
      number: From 1, without the heading; rows without content count and are not yielded.
      cells: The values of the columns that were asked for.
      why: "" for a good row, or a part of a sentence that says what is wrong with it.
    """

    number: int
    cells: list[Any]
    why: str = ""


class Inside(NamedTuple):
    """Stands in the cell of an image that the file itself holds.

    Attributes:
      key: The image's path below the input.
      uri: Its address; see `pipelines.core.files.members`.
    """

    key: str
    uri: str


class Table(NamedTuple):
    """Describes a table.

    Attributes:
      form: What it is, for people: "UTF-8, comma-separated".
      columns: The headings as they are in the file; "1", "2", … if it has none.
      rows: Yields the rows, with the cells of the columns of these indices.
      images: Indices of the columns whose cells are `Inside`.
    """

    form: str
    columns: tuple[str, ...]
    rows: Callable[[Sequence[int]], Iterator[Row]]
    images: tuple[int, ...] = ()


def load(path: str, limit: int = MAX_BYTES) -> bytes:
    """Returns the bytes of a manifest.

    Raises:
      SourceError: It cannot be read, or has more bytes.
    """
    try:
        return storage.read_input(path, limit)
    except storage.StorageError as e:
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def parse(path: str, data: bytes, spec: TableSpec, known: Sequence[str] = ()) -> Table:
    """Parses the bytes of a table, in the format that its ending says.

    Args:
      known: Headings in lower case that tell which delimiter is meant.

    Raises:
      TableError: It is not plain how it is read.
      SourceError: The bytes are not in that format. Reading the rows raises it, too.
    """
    name = path.lower()
    if data[:2] == b"\x1f\x8b":
        data = _inflated(path, data)
    elif name.endswith(".gz"):
        raise SourceError(f"The manifest {path!r} cannot be read: its name ends in .gz, but it is not gzip.")
    name = name.removesuffix(".gz")
    with _told(path):
        if name.endswith(".parquet"):
            return _parquet(path, data)
        for beginning, what in _NO_TEXT.items():
            if data.startswith(beginning):
                raise TableError(f"{path!r} is {what}.")
        encoding = spec.encoding or text_encoding.find(data, path)
        if name.endswith((".jsonl", ".ndjson")):
            return _json_lines(path, data, encoding)
        return _delimited(path, data, encoding, spec, known)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Turns the errors of pyarrow, codecs and so on into a SourceError."""
    try:
        yield
    except SourceError:
        raise
    except Exception as e:  # each library raises its own types
        raise SourceError(f"The manifest {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def _inflated(path: str, data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = reading.at_most(file, MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as e:
        raise SourceError(f"The manifest {path!r} cannot be read: its gzip data are damaged: {e}.") from e
    if len(text) > MAX_BYTES:
        raise SourceError(f"The manifest {path!r} has more than {MAX_BYTES} bytes of text.")
    return text


def _lines(data: bytes, encoding: str, newline: str) -> Iterator[str]:
    yield from io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline=newline)


def _delimited(path: str, data: bytes, encoding: str, spec: TableSpec, known: Sequence[str]) -> Table:
    first = list(itertools.islice(_lines(data, encoding, ""), SNIFFED))
    skipped = 0
    stated = re.fullmatch(r'"?sep=(.)"?', first[0].strip("\r\n")) if first else None
    if stated:
        skipped = 1
    while skipped < len(first) and not first[skipped].strip(' \t\r\n,;|"'):
        skipped += 1
    comments = _comments(first[skipped:])
    skipped += comments
    is_counted = skipped < len(first) and _counts_rows(first[skipped], _lines(data, encoding, ""), skipped)
    skipped += is_counted
    first = first[skipped:]
    delimiter = _delimiter(path, first, stated[1] if stated else "", spec.delimiter, known)
    if delimiter == "space":
        first = [*_even_blanks(first)]
    joins = False
    if delimiter == "space" and not spec.heading and spec.delimiter == "auto":
        joins = _differ_in_words(itertools.islice(_lines(data, encoding, ""), skipped, skipped + COUNTED))
    if joins:
        first = [*_two_cells(first)]
    heading, *others = [*delimited_text.read(first, DELIMITERS[delimiter], 0)] or [delimited_text.Record([])]
    names = heading.cells
    lacks_first = spec.heading and _lacks_first(names, [record.cells for record in others])
    if lacks_first:
        names = ["path" if others[0].cells[0].lower().endswith(IMAGE_SUFFIXES) else "id", *names]
    width = len(names)

    def rows(indices: Sequence[int]) -> Iterator[Row]:
        with _told(path):
            lines: Iterator[str] = itertools.islice(_lines(data, encoding, ""), skipped, None)
            lines = _even_blanks(lines) if delimiter == "space" else lines
            lines = _two_cells(lines) if joins else lines
            records = delimited_text.read(lines, DELIMITERS[delimiter], width)
            for number, record in enumerate(records, start=0 if spec.heading else 1):
                cells = record.cells
                if number and (record.why or any(map(str.strip, cells))):
                    why = record.why or _too_many(cells, width)
                    yield Row(number, [_cell(cells[i]) if i < len(cells) else "" for i in indices], why)

    columns = tuple(str(i + 1) for i in range(width)) if not spec.heading else tuple(names)
    form = f"{text_encoding.NAMES.get(encoding, encoding)}, {_ADJECTIVES[delimiter]}"
    form += ", with all behind the name as one cell" if joins else ""
    form += f", after {comments} lines of comments" if comments else ""
    form += ", after a line with the number of rows" if is_counted else ""
    form += f", whose first column has no heading and is called {names[0]!r}" if lacks_first else ""
    return Table(form, columns, rows)


def _comments(lines: Sequence[str]) -> int:
    """Returns how many lines at the beginning are comments.

    A single line that begins with # may be the heading, and one that names an image is a row.
    """
    found = [*itertools.takewhile(lambda line: line.lstrip().startswith("#"), lines)]
    if len(found) < 2 or len(found) == len(lines):
        return 0
    return 0 if any(ending in line.lower() for line in found for ending in IMAGE_SUFFIXES) else len(found)


def _counts_rows(line: str, lines: Iterator[str], skipped: int) -> bool:
    """Tells whether a line holds the number of rows, as in CelebA's tables."""
    text = line.strip()
    if not (text.isascii() and text.isdecimal()):
        return False
    below = sum(bool(other.strip()) for other in itertools.islice(lines, skipped + 1, None))
    return int(text) in (below, below - 1) and below > 1


def _even_blanks(lines: Iterable[str]) -> Iterator[str]:
    """Yields the lines of a blank-separated table with one blank between cells.

    Such tables are aligned with several. A line with a quote stays as it is.
    """
    yield from (line if '"' in line else " ".join(line.split()) + "\n" for line in lines)


def _differ_in_words(lines: Iterable[str]) -> bool:
    """Tells whether lines without quotes have different numbers of words.

    Then a name comes first, and the other words are a label of several words, or several labels. Single lines with more
    or fewer words are bad rows.
    """
    filled = [line for line in lines if line.strip()]
    words = collections.Counter(len(line.split()) for line in filled)
    if not words or any('"' in line for line in filled):
        return False
    others = len(filled) - words.most_common(1)[0][1]
    return others > max(1, len(filled) / 10)


def _two_cells(lines: Iterable[str]) -> Iterator[str]:
    """Yields lines whose words behind the name are one quoted cell.

    The name ends with the ending of an image, and else with the first blank.
    """
    for line in lines:
        text = line.strip()
        found = _NAME.match(text)
        name, rest = (found[1], found[2]) if found else (text.partition(" ")[0], text.partition(" ")[2])
        cells = (name, rest.strip())
        yield " ".join('"' + cell.replace('"', '""') + '"' for cell in cells if cell) + "\n"


def _lacks_first(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Tells whether each row has one cell more than the heading, as R writes it.

    A cell that is empty at the end of each row is not one.
    """
    return (
        bool(rows)
        and all(len(cells) == len(heading) + 1 for cells in rows)
        and any(cells[-1].strip() for cells in rows)
    )


def _delimiter(path: str, lines: Sequence[str], stated: str, wanted: str, known: Sequence[str]) -> str:
    """Returns the name of the delimiter.

    Args:
      stated: The delimiter that the first line states, as spreadsheets write it: sep=;
      wanted: Its name, or "auto".
    """
    if wanted != "auto":
        return wanted
    if stated:
        names = [name for name, sign in DELIMITERS.items() if sign == stated]
        if not names:
            raise TableError(
                f"The first line of {path!r} says that {stated!r} separates the cells. Write the table with one of "
                f"{', '.join(DELIMITERS)}."
            )
        return names[0]
    if not lines:
        return "comma"
    name = path.lower().removesuffix(".gz")
    candidates = [c for c in DELIMITERS if c != "space"]
    if name.endswith(".tsv") and "\t" in lines[0]:
        candidates = ["tab"]
    found = delimited_text.sniff(lines, candidates, known)
    if not found and name.endswith(".txt"):
        found = delimited_text.sniff(lines, ["space"], known)
    if len(found) > 1:
        raise TableError(
            f"It is not plain what separates the cells of {path!r}: {' or '.join(found)}. Its first line is "
            f"{cut(lines[0].strip(), MAX_TOLD)!r}. Say it: --delimiter {found[0]}."
        )
    return found[0] if found else "comma"


def _cell(text: str) -> str:
    return "" if text == "\\N" else text  # how MySQL exports a value that is not there


def _too_many(cells: Sequence[str], width: int) -> str:
    if len(cells) <= width or not any(cell.strip() for cell in cells[width:]):
        return ""
    return (
        f"has {plural(len(cells), 'cell')}, and the heading has {width}. Put quotes around a cell that has the "
        "delimiter in it; if all rows begin with a number or a name that has no heading, add one"
    )


def _json_lines(path: str, data: bytes, encoding: str) -> Table:
    def objects() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(_lines(data, encoding, "\n"), start=1):
            if line.strip():
                yield number, _object(line.removesuffix("\n"), number)

    def rows(indices: Sequence[int]) -> Iterator[Row]:
        names = [columns[i] for i in indices]
        with _told(path):
            for number, (_, row) in enumerate(objects(), start=1):
                yield Row(number, [row.get(name) for name in names])

    columns = tuple(dict.fromkeys(key for _, row in itertools.islice(objects(), KEYS_FROM) for key in row))
    return Table(f"{text_encoding.NAMES.get(encoding, encoding)}, JSON lines", columns, rows)


def _object(line: str, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise SourceError(f"Line {number} of the manifest is not JSON: {e}. Received: {line[:80]!r}") from e
    if not isinstance(row, dict):
        raise SourceError(f"Line {number} of the manifest should be a JSON object. Received: {line[:80]!r}")
    return row


def _parquet(path: str, data: bytes) -> Table:
    import pyarrow.parquet  # it takes long to import

    columns = tuple(pyarrow.parquet.ParquetFile(io.BytesIO(data)).schema_arrow.names)

    def rows(indices: Sequence[int]) -> Iterator[Row]:
        with _told(path):
            number, names = 0, [columns[i] for i in indices]
            file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
            for batch in file.iter_batches(columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield Row(number, [row[name] for name in names])

    return Table("Parquet", columns, rows)
