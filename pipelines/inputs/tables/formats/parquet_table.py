"""Reads Parquet files that hold images as the rows of a table.

Hugging Face publishes datasets in this form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from pipelines.core.errors import SourceError
from pipelines.core.files import members
from pipelines.core.files.members import Member
from pipelines.core.text import plural
from pipelines.inputs.tables.formats.table_file import Inside, Row, Table

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 4096


def has_images(file: str | IO[bytes]) -> bool:
    """Tells whether a column of a Parquet file holds bytes.

    Args:
      file: The path of a local file, or an open one.

    Raises:
      SourceError: The file cannot be read.
    """
    return bool(_images(_schema(file)))


def table(files: Mapping[str, str], splits: Mapping[str, str]) -> Table:
    """Opens files as one table. The cells of its columns of bytes are `Inside`.

    Args:
      files: path -> its path below the input.
      splits: path -> split; {} if the names do not tell it.

    Raises:
      SourceError: A file cannot be read, or has other columns than the first one. Reading the rows raises it, too.
    """
    paths = list(files)
    schema = _schema(paths[0])
    images = _images(schema)
    columns = tuple(schema.names)
    for path in paths[1:]:
        if missing := [name for name in columns if name not in _schema(path).names]:
            raise SourceError(
                f"The file {path!r} has no column {missing[0]!r}, which {paths[0]!r} has. Leave the one or the other "
                "out with --exclude."
            )
    names = _class_names(schema)
    extra = ("split",) if splits and "split" not in columns else ()

    def rows(indices: Sequence[int]) -> Iterator[Row]:
        number = 0
        for path in paths:
            for cells in _rows(path, files[path], columns, images, indices, names, splits.get(path, "")):
                number += 1
                yield Row(number, cells)

    number = tuple(columns.index(name) for name in images)
    return Table(f"Parquet, {plural(len(paths), 'file')}", columns + extra, rows, number)


def _schema(file: str | IO[bytes]) -> pyarrow.Schema:
    import pyarrow.parquet  # it takes long to import

    try:
        return pyarrow.parquet.read_schema(file)
    except Exception as e:  # pyarrow raises errors of many kinds
        named = f"file {file!r}" if isinstance(file, str) else "Parquet file"
        raise SourceError(f"The {named} cannot be read: {type(e).__name__}: {e}.") from e


def _images(schema: pyarrow.Schema) -> dict[str, str]:
    """Returns for each column of bytes the path of what is stored.

    It is image.bytes in files of Hugging Face, else the name of the column.
    """
    import pyarrow

    found = {}
    for field in schema:
        inner = {field.type.field(i).name: field.type.field(i).type for i in range(field.type.num_fields)}
        if pyarrow.types.is_struct(field.type) and "bytes" in inner and _is_bytes(inner["bytes"]):
            found[field.name] = f"{field.name}.bytes"
        elif _is_bytes(field.type):
            found[field.name] = field.name
    return found


def _is_bytes(kind: pyarrow.DataType) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _class_names(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """Returns column -> names of its classes, as Hugging Face states them.

    A label is the number of its name.
    """
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in said.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _rows(
    path: str,
    below: str,
    columns: tuple[str, ...],
    images: Mapping[str, str],
    indices: Sequence[int],
    names: Mapping[str, list[str]],
    split: str,
) -> Iterator[list[Any]]:
    """Yields the cells of each row of a file, without reading its images."""
    import pyarrow.parquet

    wanted = [columns[i] if i < len(columns) else "" for i in indices]
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            stored = [file.schema.column(i).path for i in range(len(file.schema))]
            places = {name: stored.index(images[name]) for name in wanted if name in images}
            labels = [f"{name}.path" for name in places if f"{name}.path" in stored]
            read = [name for name in wanted if name and name not in images] + labels
            number = 0
            for batch in _batches(file, read):
                for row in batch:
                    cells: list[Any] = []
                    for name in wanted:
                        if name in places:
                            said = row.get(name) or {}
                            cells.append(_inside(path, below, number, places[name], said.get("path")))
                        elif name:
                            cells.append(_named(row[name], names.get(name)))
                        else:
                            cells.append(split)
                    yield cells
                    number += 1
    except SourceError:
        raise
    except Exception as e:  # pyarrow raises errors of many kinds
        raise SourceError(f"The file {path!r} cannot be read: {type(e).__name__}: {e}.") from e


def _batches(file: Any, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    if columns:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            yield batch.to_pylist()
    else:
        yield [{} for _ in range(file.metadata.num_rows)]


def _inside(path: str, below: str, number: int, column: int, named: Any) -> Inside:
    """Makes the cell of an image.

    Its key has the number of the row, and the image's file name where that is stored.
    """
    name = f"{number:08}"
    if isinstance(named, str) and (base := os.path.basename(named)):
        name += f"-{base}"
    return Inside(f"{below}/{name}", members.address(Member(path, name, members.ROW, number, column=column)))


def _named(value: Any, names: list[str] | None) -> Any:
    """Returns the name of a class for its number.

    It is None for a number that has no name, such as -1.
    """
    if names is None or isinstance(value, bool) or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
