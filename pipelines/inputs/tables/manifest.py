"""Reads a manifest: the rows of a table as sources and rejects.

Files that hold the images themselves are read as such a table, too.

`table_file` reads the rows, `table_columns` finds the columns, and `manifest_paths` reads the paths.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import io
import itertools
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines import storage
from pipelines.contract.metadata import MetadataColumn
from pipelines.contract.task import CLASSES
from pipelines.core.elements import UNLABELLED, Source
from pipelines.core.errors import SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import cut, listed, plural, utf8_text
from pipelines.inputs import remote_files
from pipelines.inputs.layouts.split_names import SPLIT_NAMES, SPLIT_PATTERN
from pipelines.inputs.rules import ROWS, InputSpec, TableSpec, reject
from pipelines.inputs.tables import (
    answer_cells,
    composed_paths,
    id_lists,
    joined_tables,
    kept_columns,
    label_kinds,
    manifest_paths,
    path_hints,
    path_splits,
    record_files,
    several_tables,
    split_cells,
    table_columns,
)
from pipelines.inputs.tables.answer_cells import AnswerCells
from pipelines.inputs.tables.formats import parquet_table, table_file
from pipelines.inputs.tables.formats.table_file import Inside, Table
from pipelines.inputs.tables.kept_columns import BadCellError, Deciding
from pipelines.inputs.tables.several_tables import Place
from pipelines.inputs.tables.table_columns import ROLES
from pipelines.tasks import multi_label, regression
from pipelines.tasks.kinds import KINDS

MAX_WEIGHT = 3e38  # records store weights as float32
MAX_TEXT = 4096  # characters of a cell: no path is longer, and each reject or ledger line repeats some
# Bytes of a table that is read as a whole before a run, to count its rows and see all labels. Of a larger one the first
# rows are looked at; the rest is looked at when the inputs are listed.
MAX_LOOKED_AT = 64 << 20


class Row(NamedTuple):
    """Holds what one row of a table says.

    Attributes:
      number: Its number, from 1.
      values: Role of `table_columns.ROLES` -> value.
      why: "" for a good row, or a part of a sentence that says what is wrong with it.
      place: Of which of several tables it is.
      kept: The cells of the columns that travel along.
    """

    number: int
    values: Mapping[str, Any]
    why: str = ""
    place: Place | None = None
    kept: Sequence[Any] = ()

    @property
    def name(self) -> str:
        """Returns what messages call the row."""
        return f"Row {self.number}" if self.place is None else f"Row {self.number} of {self.place.below!r}"


class Manifest(NamedTuple):
    """Describes a manifest that was opened.

    Attributes:
      told: A sentence about its form and its columns, without the number of rows and the full stop.
      columns: The part of it that is about the columns.
      label: The heading of its labels.
      rows: Its rows, which are read when they are asked for.
      adds_up: Whether the labels of several rows of an image add up.
      has_splits: Whether a column has the splits.
      kept: The names of the columns that travel along.
    """

    told: str
    columns: str
    label: str
    rows: Iterator[Row]
    adds_up: bool = False
    has_splits: bool = False
    kept: tuple[str, ...] = ()


class Looked(NamedTuple):
    """Holds what a look at a manifest before a run shows.

    Attributes:
      told: Sentences that say how it is read.
      items: Its first rows as sources or rejects.
      paths: Their paths.
      metadata: The columns that travel along, with their types.
    """

    told: tuple[str, ...]
    items: list[Source | Rejected]
    paths: list[str]
    metadata: tuple[MetadataColumn, ...] = ()


def open_table(spec: InputSpec) -> tuple[Manifest, int]:
    """Opens a manifest, or the files that hold the images themselves.

    Returns:
      The manifest, and how many bytes its rows are read from.

    Raises:
      TableError: It is not plain how it is read.
      SourceError: It cannot be read. To read the rows may raise it, too.
    """
    if files := record_files.find(spec.path, spec.include, spec.exclude):
        return _opened(record_files.table(spec.path, files), spec), sum(os.path.getsize(file) for file in files)
    if several_tables.is_pattern(spec.path):
        return _open_several(spec)
    if id_lists.is_set(spec.path, spec.table):
        table, size = id_lists.table(spec.path, spec.table)
        return _opened(table, spec), size
    data = table_file.load(spec.path)
    is_parquet = storage.is_remote(spec.path) and record_files.kind(spec.path) == record_files.PARQUET
    if is_parquet and parquet_table.has_images(io.BytesIO(data)):
        raise remote_files.error_for_parquet(spec.path)
    return parse(data, spec), len(data)


def _open_several(spec: InputSpec) -> tuple[Manifest, int]:
    """Opens the tables of a pattern as one."""
    places, size = several_tables.find(spec.path), 0
    tables, manifests = [], []
    for place in places:
        data = table_file.load(place.path)
        size += len(data)
        tables.append(_parsed(place.path, data, spec.table))
        manifests.append(_opened(tables[-1], dataclasses.replace(spec, path=place.path), bool(place.split)))
    several_tables.check_alike(tables, places)
    first = manifests[0]
    takes_splits = bool(places[0].split) and not first.has_splits and spec.table.split_column != table_columns.NONE
    said = several_tables.describe(spec.path, tables[0], places, takes_splits)

    def rows() -> Iterator[Row]:
        for place, manifest in zip(places, manifests, strict=True):
            for row in manifest.rows:
                values = {**row.values, "split": place.split} if takes_splits else row.values
                yield row._replace(values=values, place=place)

    return first._replace(told=f"{said}, {first.columns}", rows=rows()), size


def parse(data: bytes, spec: InputSpec) -> Manifest:
    """Opens a manifest of which the bytes are known.

    Raises:
      TableError, SourceError: As `open_table`.
    """
    return _opened(_parsed(spec.path, data, spec.table), spec)


def _parsed(path: str, data: bytes, spec: TableSpec) -> Table:
    table = joined_tables.joined(table_file.parse(path, data, spec, table_columns.KNOWN), path, spec)
    return composed_paths.composed(table, path, spec)


def _opened(table: Table, spec: InputSpec, is_of_split: bool = False) -> Manifest:
    """Opens a table of which the form is known.

    Args:
      is_of_split: Whether the name of the table tells the split of its rows.
    """
    columns = table_columns.find(table, spec.table, spec.path, functools.partial(path_hints.explain, spec))
    answer = answer_cells.find(table, spec.table, columns, spec.path)
    kept = table_columns.named(table.columns, "--keep", spec.table.keep, spec.path)
    names = tuple(kept_columns.name_of(table.columns[index], spec.path) for index in kept)
    read_too = (*(() if answer is None else answer.columns), *kept)
    if not is_of_split and _may_hide_splits("split" in columns, spec):
        split_cells.refuse(table, {*columns.values(), *read_too}, spec.path)
    described = table_columns.describe(table.columns, columns, "" if answer is None else answer.told, read_too)
    has_commas = _weights_have_commas(table, columns)
    if has_commas:
        described += f", with a comma as the decimal sign of {table.columns[columns['weight']]!r}"
    told = f"Reads {utf8_text(spec.path)!r} as {table.form}, {described}"
    label = table.columns[columns["label"]] if answer is None else ""
    adds_up = answer is not None and answer.adds_up
    rows = _rows(table, columns, answer, kept, spec.unlabelled == (ROWS,), has_commas)
    return Manifest(told, described, label, rows, adds_up, "split" in columns, names)


def _weights_have_commas(table: Table, columns: Mapping[str, int]) -> bool:
    """Tells whether the weights of a table have a comma as their decimal sign."""
    if "weight" not in columns:
        return False
    rows = itertools.islice(table.rows((columns["weight"],)), table_columns.ROWS_SEEN)
    return regression.has_decimal_commas(row.cells[0] for row in rows if not row.why)


def _rows(
    table: Table,
    columns: Mapping[str, int],
    answer: AnswerCells | None,
    kept: Sequence[int],
    may_be_empty: bool,
    has_commas: bool,
) -> Iterator[Row]:
    """Yields the rows; the text of an answer stands in the place of a label.

    Args:
      may_be_empty: Whether a row whose cells of an answer are empty has no label, rather than an answer.
      has_commas: Whether weights have a comma as their decimal sign.
    """
    of_answer = () if answer is None else answer.columns
    first, last = len(columns), len(columns) + len(of_answer)
    for row in table.rows((*columns.values(), *of_answer, *kept)):
        values, why, cells = dict(zip(columns, row.cells, strict=False)), row.why, row.cells[first:last]
        if answer is not None:
            is_empty = bool(why) or (may_be_empty and all(_text(cell) == "" for cell in cells))
            values["label"], wrong = ("", "") if is_empty else answer.read(cells)
            why = why or wrong
        if has_commas and isinstance(weight := values.get("weight"), str):
            values["weight"] = regression.with_point(weight.strip())
        yield Row(row.number, values, why, kept=row.cells[last:])


def list_rows(spec: InputSpec) -> Iterator[Source | Rejected]:
    """Yields every row as a source or a reject.

    Rows that contradict one another are all rejects, because there is no reason to choose one of them. A row that
    repeats an earlier one is a reject, too.

    Raises:
      TableError: It is not plain how the manifest is read, or its labels are not classes.
      SourceError: The manifest cannot be read, or it has no rows.
    """
    if spec.table.keep and not spec.metadata:
        spec = dataclasses.replace(spec, metadata=look(spec, 0).metadata)
    opened, _ = open_table(spec)
    empty = True
    for item in read_items(_checked(opened, spec), spec, opened.adds_up):
        empty = False
        yield item
    if empty:
        raise SourceError(f"The manifest {spec.path!r} has no rows.")


def look(spec: InputSpec, most: int) -> Looked:
    """Reads a manifest before a run.

    It is read as a whole if it is not large, or if columns of it travel along.

    Args:
      most: How many of its rows are returned.

    Raises:
      TableError, SourceError: As `list_rows`.
    """
    opened, size = open_table(spec)
    if size > MAX_LOOKED_AT and not opened.kept:
        rows = list(itertools.islice(opened.rows, most))
        return Looked((f"{opened.told}.",), list(read_items(rows, spec, opened.adds_up)), _paths(rows))
    deciding = [Deciding(name) for name in opened.kept]
    rows, number, empty = [], 0, 0
    for row in _checked(opened, spec):
        number += 1
        empty += not row.why and _text(row.values["label"]) == ""
        if not row.why:
            for column, cell in zip(deciding, row.kept, strict=True):
                column.add(cell, row.name)
        if len(rows) < most:
            rows.append(row)
    if not number:
        raise SourceError(f"The manifest {spec.path!r} has no rows.")
    metadata = tuple(MetadataColumn(column.name, column.dtype) for column in deciding)
    items = read_items(rows, dataclasses.replace(spec, metadata=metadata), opened.adds_up)
    told = (f"{opened.told}; {plural(number, 'row')}.{_without_label(empty, spec)}", *kept_columns.told(deciding))
    return Looked(told, list(items), _paths(rows), metadata)


def _may_hide_splits(has_splits: bool, spec: InputSpec) -> bool:
    """Tells whether neither a column nor an option states the splits of the rows.

    Args:
      has_splits: Whether a column is read as that of the splits.
    """
    return not (has_splits or spec.split_names or spec.split_lists or spec.table.split_column)


def _without_label(rows: int, spec: InputSpec) -> str:
    """Returns a sentence about rows without a label; "" of none."""
    if not rows:
        return ""
    if spec.unlabelled == (ROWS,):
        return f" {plural(rows, 'row')} without a label {'is' if rows == 1 else 'are'} the split {UNLABELLED}."
    return (
        f" {plural(rows, 'row')} {'has' if rows == 1 else 'have'} no label, and cannot be used. --unlabelled {ROWS} "
        "takes such rows as a split of their own."
    )


def paths(spec: InputSpec) -> Iterator[str]:
    """Yields the paths of the rows, as the options have them read.

    Raises:
      SourceError: The manifest cannot be read.
    """
    for row in open_table(spec)[0].rows:
        path = _text(row.values["path"])
        if path:
            path = manifest_paths.written(path, spec.table)
            is_below = row.place is not None and not spec.table.image_root
            yield manifest_paths.resolve(path, row.place.folder) if is_below and row.place else path


def _paths(rows: Iterable[Row]) -> list[str]:
    return [path for row in rows if not row.why and (path := _text(row.values["path"]))]


def _checked(opened: Manifest, spec: InputSpec) -> Iterator[Row]:
    """Yields the rows, and checks them as a whole at their end.

    Labels should be classes, and the paths should hide no splits.
    """
    labels: collections.Counter[str] = collections.Counter()
    lists, names = 0, path_splits.PathNames()
    for row in opened.rows:
        value = row.values["label"]
        path = "" if row.why else _text(row.values["path"])
        if path and not (row.place is not None and row.place.split):
            names.add(manifest_paths.written(path, spec.table))
        if isinstance(value, (list, tuple, dict)):
            lists += 1
        elif not row.why and (label := _text(value)):
            labels[label] += 1
        yield row
    if not (spec.table.single_label or spec.table.label_columns) and spec.table.task == CLASSES:
        label_kinds.check(labels, lists, spec.path, opened.label)
    if _may_hide_splits(opened.has_splits, spec):
        names.refuse_splits(spec.path)


def read_items(rows: Iterable[Row], spec: InputSpec, adds_up: bool = False) -> Iterator[Source | Rejected]:
    """Yields a source or a reject for each row, in the order of the rows.

    It holds all rows in memory, because the last row may contradict the first one.

    Args:
      adds_up: Whether the labels of several rows of an image add up. A row that adds labels to an earlier one yields
        nothing: it is a part of that source.
    """
    base = manifest_paths.folder(spec.path, spec.table)
    folders = None if spec.allow_outside else manifest_paths.Folders(base)
    names = manifest_paths.Names(base) if spec.table.find_images and not storage.is_remote(base) else None
    first: dict[str, int] = {}  # key -> index of its first row
    others: dict[str, set[tuple[Any, ...]]] = {}  # key -> the values of its rows, if they differ
    parsed: list[Source | Rejected] = []
    names_of_rows: list[str] = []
    for index, row in enumerate(rows):
        item = _parse_row(row, spec, base, folders, names)
        parsed.append(item)
        names_of_rows.append(row.name)
        if isinstance(item, Source):
            earlier = parsed[first.setdefault(item.key, index)]
            if adds_up and isinstance(earlier, Source) and earlier[3:] == item[3:] and item.label:
                both = multi_label.text_of(multi_label.parsed(earlier.label) + multi_label.parsed(item.label))
                parsed[first[item.key]] = earlier._replace(label=both)
            elif earlier[2:] != item[2:]:  # type: ignore[index]
                others.setdefault(item.key, {earlier[2:]}).add(item[2:])  # type: ignore[index]
    # Made once for each path: a path may stand in every row.
    told = {key: _contradiction(values, spec.table.task == CLASSES) for key, values in others.items()}
    for index, (name, item) in enumerate(zip(names_of_rows, parsed, strict=True)):
        if isinstance(item, Rejected):
            yield item
        elif item.key in told:
            yield reject(item.uri, "contradictory-rows", f"{name}: {told[item.key]}", item.label)
        elif first[item.key] != index:
            if adds_up:
                continue
            yield reject(item.uri, "repeated-row", f"{name} repeats an earlier one.", item.label)
        else:
            yield item


def _contradiction(values: Collection[tuple[Any, ...]], is_one: bool) -> str:
    """Describes rows of one path by a few of their values, from the label on.

    Args:
      is_one: Whether an image has one class.
    """
    has_kept = any(value[-1] for value in values)
    shown = sorted(str(value if has_kept else value[:-1]) for value in values)[:3]
    what = "label, split, group, weight and kept columns" if has_kept else "label, split, group and weight"
    remedy = " If an image may have several labels: --labels multi." if is_one and _differ_in_labels(values) else ""
    return (
        f"this path has {len(values)} different combinations of {what}, such as "
        f"{', '.join(cut(text, 80) for text in shown)}.{remedy}"
    )


def _differ_in_labels(values: Collection[tuple[Any, ...]]) -> bool:
    """Tells whether the rows of a path differ in nothing but the label.

    It is the first of their values.
    """
    return len({value[1:] for value in values}) == 1


def _parse_row(
    row: Row,
    spec: InputSpec,
    base: str,
    folders: manifest_paths.Folders | None,
    names: manifest_paths.Names | None = None,
) -> Source | Rejected:
    """Returns a row as a source or a reject.

    Args:
      base: The folder in which relative paths begin.
      folders: Tells which paths leave this folder; None: they may.
      names: Finds images by their names; None: the paths are as the rows have them.
    """
    name = row.name
    place = row.values.get("path")
    may_be_empty = spec.unlabelled == (ROWS,)
    if isinstance(place, Inside) and not row.why and row.values["label"] is None and not may_be_empty:
        return reject(place.uri, "no-label", f"{name} has no label, or a number that no class has.")
    values = {column: _text(row.values.get(column)) for column in ROLES}
    if isinstance(place, Inside):
        values["path"] = path = place.key
    else:
        path = manifest_paths.written(values["path"] or "", spec.table)
        if path and row.place is not None and not spec.table.image_root:
            path = manifest_paths.resolve(path, row.place.folder)
    label, split = "" if row.why else values["label"] or "", (values["split"] or "").lower()

    def bad(expected: str) -> Rejected:
        named = cut(path or f"r{name[1:]}", MAX_TEXT)
        return reject(named, "bad-row", f"{name} {expected}", cut(label, MAX_TEXT))

    weight = _weight(values["weight"])
    fault = f"{row.why}." if row.why else _fault(row, values, path, weight, bool(label or may_be_empty))
    if fault:
        return bad(fault)
    try:
        kept = tuple(kept_columns.values(row.kept, spec.metadata))
    except BadCellError as e:
        return bad(f"{e}.")
    split = SPLIT_NAMES.get(split, split)
    if spec.split_names and not split and not isinstance(place, Inside):
        stated = path_splits.of_path(path, spec.split_names)
        if stated is None:
            named = ", ".join(folder for folder, _ in spec.split_names)
            return reject(path, "left-aside", f"{name} is outside of the folders of --split-names: {named}.", label)
        split = stated
    if not label:
        label, split, weight = KINDS[spec.table.task].unknown(len(spec.table.targets)), UNLABELLED, 1.0
    if isinstance(place, Inside):
        return Source(place.key, place.uri, label, split, values["group"] or "", weight, kept)
    uri = manifest_paths.resolve(path, base)
    if names is not None:
        several = names.find(path)
        if len(several) > 1:
            return bad(f"has a name that several files have: {listed(map(repr, several), 3)}. Write the path of one.")
        uri = several[0] if several else uri
    if folders is not None and folders.left_by(uri):
        return reject(
            path,
            "outside-input",
            f"{name} leads out of the folder of the images, {utf8_text(base) or '.'!r}. --allow-outside permits "
            "it, --image-root names another folder, and --path-prefix OLD=NEW replaces the beginning of paths.",
            label,
        )
    return Source(manifest_paths.key(uri, base), uri, label, split, values["group"] or "", weight, kept)


def _fault(row: Row, values: Mapping[str, str | None], path: str, weight: float, has_label: bool) -> str:
    """Returns what the cells of a row should hold and do not; "" if there is no fault.

    Args:
      values: column -> text of the cell; None: it is not valid.
      has_label: False if the label is missing and has to be there.
    """
    for column, value in values.items():
        if value is None:
            return f"should have plain text or a number as its {column}. Received: {row.values[column]!r:.80}"
        if len(value) > MAX_TEXT:
            return f"should have at most {MAX_TEXT} characters as its {column}. Received: {len(value)}"
    split = (values["split"] or "").lower()
    if not values["path"] or not has_label:
        return "should have a path and a label."
    if split and not re.fullmatch(SPLIT_PATTERN, split):
        return _bad_split(split)
    if not 0 <= weight <= MAX_WEIGHT:
        received = row.values["weight"]
        comma = isinstance(received, str) and regression.with_point(received.strip()) != received.strip()
        how = ": write it with a point in place of the comma" if comma else ""
        return f"should have a weight from 0 to {MAX_WEIGHT:g}. Received: {received!r:.80}{how}"
    if path.lower().startswith(("http://", "https://")):
        return "names an address on the web. Download the images, and replace its beginning by --path-prefix."
    return ""


def _weight(cell: str | None) -> float:
    """Returns the number in a cell; 1 if it is empty, and NaN if it holds no number."""
    try:
        return float(cell or 1.0)
    except ValueError:
        return math.nan


def _bad_split(split: str) -> str:
    said = f"should have a split that begins with a letter, and has letters, digits and _. Received: {split!r:.80}"
    if split.removesuffix(".0").isdecimal():
        said += (
            ". If these are folds, write the names of splits into the column, such as train and test; --split-column "
            "none leaves it aside"
        )
    return said


def _text(value: Any) -> str | None:
    """Returns a cell as text, or None if the cell is not valid.

    A valid cell is text, a number or empty; empty gives "". Text that no file name or no UTF-8 can hold is not valid.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, (str, int, float)):
        return None
    text = str(value).strip()
    return None if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text) else text
