"""Finds out which column of a table is the path, which the label, and so on.

A column is taken by its heading where only one has a plain name. Where two compete, the table is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelines.core.errors import TableError
from pipelines.core.text import cut, listed
from pipelines.inputs.rules import IMAGE_SUFFIXES, TableSpec
from pipelines.inputs.tables.table_file import Table

ROLES = ("path", "label", "split", "group", "weight")
NONE = "none"  # the value of an option that reads no such column
_PATHS = frozenset({
    "file", "file_name", "filename", "file_path", "filepath", "image", "image_path", "imagepath", "image_file",
    "image_name", "imagename", "image_filename", "image_file_name", "image_index", "img", "img_path", "img_name",
    "img_file",
})  # fmt: skip
_IDS = frozenset({"id", "image_id", "imageid", "img_id", "id_code", "uid", "uuid", "name"})
_LABELS = frozenset({
    "labels", "class", "classes", "class_name", "classname", "class_label", "class_id", "label_name", "label_id",
    "category", "category_name", "category_id", "target", "diagnosis", "species", "breed",
})  # fmt: skip
_INSIDE = _PATHS | {"image/encoded", "jpg", "jpeg", "png", "image_raw", "image_bytes"}  # images themselves
# Labels of TensorFlow's scripts for ImageNet. The text says more than the number.
_EXAMPLE_LABELS = ({"image/class/text"}, {"image/class/label"})
KNOWN = (*ROLES, *sorted(_PATHS | _IDS | _LABELS))  # in the spelling of `_plain`
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
NAMED = 12  # columns that an error names
ROWS_SEEN = 200  # rows that show what a column without a known name holds


def find(table: Table, spec: TableSpec, path: str, explain: Callable[[list[str]], str]) -> dict[str, int]:
    """Returns role -> index of its column; a role without a column is left out.

    Args:
      explain: Returns a sentence about names that may be those of images, or "".

    Raises:
      TableError: It is not plain which column has the path or the label; the message names the options.
    """
    if not table.columns:
        raise TableError(f"The manifest {path!r} is empty: it should have a heading with the columns path and label.")
    if spec.heading:
        _check_heading(table.columns, path)
    wanted = {role: getattr(spec, f"{role}_column") for role in ROLES}
    found = {role: _named(table.columns, role, name, path) for role, name in wanted.items() if name not in ("", NONE)}
    if table.images and "path" not in found:
        found["path"] = _image_column(table, path)
    if not spec.heading:
        found = _by_content(table, found) | found
    else:
        for role in ROLES:
            if (
                role not in found
                and not wanted[role]
                and (index := _guess(table.columns, role, spec, found, path)) is not None
            ):
                found[role] = index
    if "path" not in found:
        raise TableError(_no_path(table, path, explain))
    if "label" not in found:
        raise TableError(_no_label(table, found["path"], path))
    found = {role: found[role] for role in ROLES if role in found}
    _check_distinct(table.columns, found, path)
    return found


def _image_column(table: Table, path: str) -> int:
    """Returns the column whose cells are the images themselves."""
    named = [i for i in table.images if _plain(table.columns[i]) in _INSIDE]
    found = named if len(named) == 1 else list(table.images)
    if len(found) > 1:
        raise TableError(
            f"It is not plain which column of {path!r} is the image: {_quoted(table.columns[i] for i in found)}. Name "
            f"it: --path-column {_argument(table.columns[found[0]])}."
        )
    return found[0]


def describe(columns: Sequence[str], found: Mapping[str, int]) -> str:
    """Returns which column is what, in words."""
    read = (f"{columns[index]!r} as {role}" for role, index in found.items())
    others = [repr(name) for i, name in enumerate(columns) if i not in found.values() and name.strip()]
    unread = f" (not read: {listed((cut(name, 40) for name in others), 5)})" if others else ""
    return f"columns {' and '.join(read)}{unread}"


def _plain(heading: str) -> str:
    """Returns a heading in lower case, with _ for blanks and hyphens."""
    return re.sub(r"[\s\-]+", "_", heading.strip().casefold())


def _named(columns: Sequence[str], role: str, name: str, path: str) -> int:
    for same in (str, str.strip, _plain):
        found = [i for i, column in enumerate(columns) if same(column) == same(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TableError(
                f"--{role}-column {name!r}: {len(found)} columns of {path!r} have this heading. Name one by its "
                f"number: --{role}-column {found[0] + 1}."
            )
    if name.isascii() and name.isdecimal() and 1 <= int(name) <= len(columns):
        return int(name) - 1
    raise TableError(f"--{role}-column {name!r}: {path!r} has no such column. {_has(columns)}")


def _guess(columns: Sequence[str], role: str, spec: TableSpec, found: Mapping[str, int], path: str) -> int | None:
    """Returns the index of the column that plainly has a role, or None."""
    exact = [i for i, column in enumerate(columns) if column.strip() == role]
    if len(exact) == 1:  # the documented name, beside which Label or LABEL is another column
        return exact[0]
    plain = [_plain(column) for column in columns]
    tiers = [{role}]
    if role == "path":
        tiers += [set(_PATHS), set(_IDS)] if spec.suffix or spec.find_images else [set(_PATHS)]
    elif role == "label":
        tiers += [set(_LABELS), *_EXAMPLE_LABELS]
    for names in tiers:
        fit = [i for i, name in enumerate(plain) if name in names and i not in found.values()]
        if len(fit) > 1:
            raise TableError(
                f"It is not plain which column of {path!r} is the {role}: {_quoted(columns[i] for i in fit)}. Name it: "
                f"--{role}-column {_argument(columns[fit[0]])}."
            )
        if fit:
            return fit[0]
    return None


def _by_content(table: Table, found: Mapping[str, int]) -> dict[str, int]:
    """Returns the columns of a table without a heading.

    The path is the only column of files' names, and the label the only other column.
    """
    rows = [row.cells for row in itertools.islice(table.rows(range(len(table.columns))), ROWS_SEEN) if not row.why]
    files = [i for i in range(len(table.columns)) if rows and all(_is_file(row[i]) for row in rows)]
    if len(files) != 1:
        return {}
    others = [i for i in range(len(table.columns)) if i != files[0] and i not in found.values()]
    return {"path": files[0]} | ({"label": others[0]} if len(others) == 1 else {})


def _is_file(cell: object) -> bool:
    return str(cell).strip().lower().endswith(IMAGE_SUFFIXES)


def _check_heading(columns: Sequence[str], path: str) -> None:
    if any(_is_file(column) for column in columns):
        number = next(i for i, column in enumerate(columns, start=1) if _is_file(column))
        label = " --label-column 2" if number == 1 and len(columns) > 2 else ""
        paths = f" --path-column {number}" if len(columns) > 2 else ""
        raise TableError(
            f"The first row of {path!r} names an image and is no heading: {_quoted(columns)}. If the table has none: "
            f"--no-heading{paths}{label}."
        )


def _check_distinct(columns: Sequence[str], found: Mapping[str, int], path: str) -> None:
    for one, other in itertools.combinations(found, 2):
        if found[one] == found[other]:
            raise TableError(
                f"The column {columns[found[one]]!r} of {path!r} cannot be both the {one} and the {other}."
            )


def _no_path(table: Table, path: str, explain: Callable[[list[str]], str]) -> str:
    said = f"No column of {path!r} is plainly the path of an image. {_has(table.columns)}"
    ids = [i for i, column in enumerate(table.columns) if _plain(column) in _IDS]
    if not ids:
        return f"{said} Name it: --path-column COLUMN."
    names = [str(row.cells[0]) for row in itertools.islice(table.rows(ids[:1]), ROWS_SEEN) if not row.why]
    name = table.columns[ids[0]]
    return (
        f"{said} If {name!r} has the names of the images: --path-column {_argument(name)}, with --suffix .jpg if these "
        "are without endings, and with --image-root FOLDER if they are not in the folder of the table. "
        f"{explain(names)}".rstrip()
    )


def _no_label(table: Table, paths: int, path: str) -> str:
    others = [i for i, column in enumerate(table.columns) if i != paths and column.strip()]
    rows = [row.cells for row in itertools.islice(table.rows(others), ROWS_SEEN) if not row.why]
    flags = [[_FLAGS.get(str(cell).strip().lower()) for cell in row] for row in rows]
    hot = [j for j in range(len(others)) if rows and all(row[j] is not None for row in flags)]
    if len(hot) > 1:
        names = _quoted(table.columns[others[j]].strip() for j in hot)
        several = sum(sum(row[j] or 0 for j in hot) != 1 for row in flags)
        how = (
            f"{several} of the first {len(rows)} rows have none or several of them. Records have one label: leave such "
            "rows out, or choose one column with --label-column"
            if several
            else "Each of the first rows has one of them: write its heading into a column called label (pandas: "
            "table['label'] = table[columns].idxmax(axis=1))"
        )
        return f"The labels of {path!r} are in several columns of 0 and 1 ({names}), one for each class. {how}."
    return f"No column of {path!r} is plainly the label. {_has(table.columns)} Name it: --label-column COLUMN."


def _has(columns: Sequence[str]) -> str:
    return f"It has {_quoted(columns)}."


def _quoted(columns: Iterable[str]) -> str:
    return listed((repr(cut(column, 60)) for column in columns), NAMED)


def _argument(heading: str) -> str:
    """Returns a heading as one would type it after an option."""
    return heading if re.fullmatch(r"[\w.]+", heading) else repr(heading.strip())
