"""Finds out which column of a table is the path, which the label, and so on.

A column is taken by its heading where only one has a plain name. Where two compete, the table is refused.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelines.contract.task import CLASSES, MULTI_LABEL
from pipelines.core.errors import TableError
from pipelines.core.text import cut, listed
from pipelines.inputs.rules import IMAGE_SUFFIXES, TableSpec
from pipelines.inputs.tables.formats.table_file import Table

ROLES = ("path", "label", "split", "group", "weight")
NONE = "none"  # the value of an option that reads no such column
_PATHS = frozenset({
    "file", "file_name", "filename", "file_path", "filepath", "image", "image_path", "imagepath", "image_file",
    "image_name", "imagename", "image_filename", "image_file_name", "image_index", "img", "img_path", "img_name",
    "img_file",
})  # fmt: skip
_IDS = frozenset({"id", "image_id", "imageid", "img_id", "id_code", "uid", "uuid", "name"})
_LABELS = frozenset({
    "labels", "class", "classes", "class_name", "classname", "class_label", "class_id", "classid", "label_name",
    "label_id", "category", "category_name", "category_id", "category_label", "target", "diagnosis", "dx", "species",
    "breed",
})  # fmt: skip
_SEVERAL_LABELS = frozenset({"tags", "tag", "finding_labels", "categories", "attributes"})
_INSIDE = _PATHS | {"image/encoded", "jpg", "jpeg", "png", "image_raw", "image_bytes"}  # images themselves
# Labels of TensorFlow's scripts for ImageNet. The text says more than the number.
_EXAMPLE_LABELS = ({"image/class/text"}, {"image/class/label"})
KNOWN = (*ROLES, *sorted(_PATHS | _IDS | _LABELS))  # in the spelling of `plain`
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "-1": 0, "-1.0": 0}
NAMED = 12  # columns that an error names
LEAST_PIXELS = 64  # numbers of a row that seem to be the pixels of an image
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
        _check_heading(table.columns[:-1] if spec.path_from else table.columns, path)
    roles = [role for role in ROLES if role != "label" or not (spec.targets or spec.label_columns)]
    wanted = {role: getattr(spec, f"{role}_column") for role in roles}
    if spec.path_from:  # the last column has the paths, see `composed_paths`
        wanted["path"] = str(len(table.columns))
    answers = named(table.columns, "--target", spec.targets, path) + named(
        table.columns, "--label-columns", spec.label_columns, path
    )
    found = {role: _named(table.columns, role, name, path) for role, name in wanted.items() if name not in ("", NONE)}
    if table.images and "path" not in found:
        found["path"] = _image_column(table, path)
    if not spec.heading:
        by_content = _by_content(table, found, bool(spec.suffix or spec.find_images))
        found = {role: index for role, index in by_content.items() if role in roles} | found
    else:
        for role in roles:
            if (
                role not in found
                and not wanted[role]
                and (index := _guess(table.columns, role, spec, found, path)) is not None
                and index not in answers
            ):
                found[role] = index
    if "path" not in found:
        raise TableError(_no_path(table, path, explain, spec.heading))
    if "label" not in found and spec.task == CLASSES and not spec.label_columns:
        raise TableError(no_label(table, found["path"], path))
    found = {role: found[role] for role in ROLES if role in found}
    _check_distinct(table.columns, found, path)
    return found


def _image_column(table: Table, path: str) -> int:
    """Returns the column whose cells are the images themselves."""
    named = [i for i in table.images if plain(table.columns[i]) in _INSIDE]
    found = named if len(named) == 1 else list(table.images)
    if len(found) > 1:
        raise TableError(
            f"It is not plain which column of {path!r} is the image: {_quoted(table.columns[i] for i in found)}. Name "
            f"it: --path-column {_argument(table.columns[found[0]])}."
        )
    return found[0]


def describe(columns: Sequence[str], found: Mapping[str, int], answer: str = "", read_too: Sequence[int] = ()) -> str:
    """Returns which column is what, in words.

    Args:
      answer: How the answer is read, if it is no class.
      read_too: The columns of the answer.
    """
    read = [f"{columns[index]!r} as {role}" for role, index in found.items() if not answer or role != "label"]
    read += [answer] if answer else []
    known = {*found.values(), *read_too}
    others = [repr(name) for i, name in enumerate(columns) if i not in known and name.strip()]
    unread = f" (not read: {listed((cut(name, 40) for name in others), 5)})" if others else ""
    return f"columns {' and '.join(read)}{unread}"


def plain(heading: str) -> str:
    """Returns a heading in lower case, with _ for blanks and hyphens."""
    return re.sub(r"[\s\-]+", "_", heading.strip().casefold())


def _named(columns: Sequence[str], role: str, name: str, path: str) -> int:
    return _column(columns, f"--{role}-column", name, path)


def _column(columns: Sequence[str], option: str, name: str, path: str) -> int:
    for same in (str, str.strip, plain):
        found = [i for i, column in enumerate(columns) if same(column) == same(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TableError(
                f"{option} {name!r}: {len(found)} columns of {path!r} have this heading. Name one by its "
                f"number: {option} {found[0] + 1}."
            )
    if name.isascii() and name.isdecimal() and 1 <= int(name) <= len(columns):
        return int(name) - 1
    raise TableError(f"{option} {name!r}: {path!r} has no such column. {_has(columns)}")


def _guess(columns: Sequence[str], role: str, spec: TableSpec, found: Mapping[str, int], path: str) -> int | None:
    """Returns the index of the column that plainly has a role, or None."""
    exact = [i for i, column in enumerate(columns) if column.strip() == role]
    if len(exact) == 1:  # the documented name, beside which Label or LABEL is another column
        return exact[0]
    headings = [plain(column) for column in columns]
    tiers = [{role}]
    if role == "path":
        tiers += [set(_PATHS), set(_IDS)] if spec.suffix or spec.find_images else [set(_PATHS)]
    elif role == "label":
        tiers += [set(_LABELS), *([set(_SEVERAL_LABELS)] if spec.task == MULTI_LABEL else []), *_EXAMPLE_LABELS]
    for names in tiers:
        fit = [i for i, name in enumerate(headings) if name in names and i not in found.values()]
        if len(fit) > 1:
            raise TableError(
                f"It is not plain which column of {path!r} is the {role}: {_quoted(columns[i] for i in fit)}. Name it: "
                f"--{role}-column {_argument(columns[fit[0]])}."
            )
        if fit:
            return fit[0]
    return None


def _by_content(table: Table, found: Mapping[str, int], are_ids: bool) -> dict[str, int]:
    """Returns the columns of a table without a heading.

    The path is the only column of files' names, and the label the only other column.

    Args:
      are_ids: Whether names may lack the ending of an image. The path is then the only column without equal cells.
    """
    rows = [row.cells for row in itertools.islice(table.rows(range(len(table.columns))), ROWS_SEEN) if not row.why]
    files = [i for i in range(len(table.columns)) if rows and all(_is_file(row[i]) for row in rows)]
    if are_ids and not files and len(rows) > 1:
        files = [i for i in range(len(table.columns)) if len({str(row[i]).strip() for row in rows}) == len(rows)]
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


def _no_path(table: Table, path: str, explain: Callable[[list[str]], str], has_heading: bool) -> str:
    if pixels := _pixels(table, path):
        return pixels
    if not has_heading:
        return _no_path_without_heading(table, path, explain)
    said = f"No column of {path!r} is plainly the path of an image. {_has(table.columns)}"
    ids = [i for i, column in enumerate(table.columns) if plain(column) in _IDS]
    if any(column.strip().isdecimal() for column in table.columns):
        return (
            f"{said} If this is a row like the others and no heading: --no-heading, and name the columns by number, "
            "such as --path-column 1 --label-column 2."
        )
    if not ids:
        composed = "--path-from '{COLUMN}/{COLUMN}'"
        return f"{said} Name it: --path-column COLUMN; or, if several columns make it, {composed}."
    names = [str(row.cells[0]) for row in itertools.islice(table.rows(ids[:1]), ROWS_SEEN) if not row.why]
    name = table.columns[ids[0]]
    return (
        f"{said} If {name!r} has the names of the images: --path-column {_argument(name)}, with --suffix .jpg if these "
        "are without endings, and with --image-root FOLDER if they are not in the folder of the table. "
        f"{explain(names)}".rstrip()
    )


def _no_path_without_heading(table: Table, path: str, explain: Callable[[list[str]], str]) -> str:
    rows = (row.cells for row in table.rows(range(len(table.columns))) if not row.why)
    first = [str(cell) for cell in next(rows, [])]
    names = [str(row.cells[0]) for row in itertools.islice(table.rows((0,)), ROWS_SEEN) if not row.why]
    label = " and --label-column 2" if len(first) > 1 else ""
    return (
        f"No column of {path!r} is plainly the path of an image. Its first row has {_quoted(first)}. Name the columns "
        f"by number, such as --path-column 1{label}, with --suffix .jpg if the names are without endings. "
        f"{explain(names)}".rstrip()
    )


def _pixels(table: Table, path: str) -> str:
    """Returns the sentence of an error if cells are the pixels of images.

    It is "" otherwise.
    """
    rows = [row.cells for row in itertools.islice(table.rows(range(len(table.columns))), 3) if not row.why]
    if not rows:
        return ""
    in_one = [i for i, cell in enumerate(rows[0]) if _numbers(str(cell)) >= LEAST_PIXELS]
    wide = [i for i in range(len(rows[0])) if all(_numbers(str(row[i])) == 1 for row in rows)]
    if in_one:
        where, count = f"The column {table.columns[in_one[0]]!r} of {path!r} has", _numbers(str(rows[0][in_one[0]]))
    elif len(wide) >= LEAST_PIXELS:
        where, count = f"{len(wide)} columns of {path!r} have", len(wide)
    else:
        return ""
    return (
        f"{where} {count} numbers for each image, which seem to be its pixels. Images are read from files: write each "
        "row as one, for example in Python with PIL.Image.fromarray(pixels.astype('uint8').reshape(HEIGHT, "
        "WIDTH)).save(FILE), and a table with the columns path and label."
    )


def _numbers(text: str) -> int:
    """Returns how many whole numbers a text has, with blanks between them.

    It is 0 if the text has anything else.
    """
    words = text.split()
    return len(words) if all(word.isascii() and word.isdecimal() for word in words) else 0


def no_label(table: Table, paths: int, path: str) -> str:
    """Returns the sentence of an error: no column is plainly the label.

    Args:
      paths: the column of the paths.
      path: of the table.
    """
    hot = flags(table, {"path": paths})
    if len(hot) > 1:
        rows = [row.cells for row in itertools.islice(table.rows(hot), ROWS_SEEN) if not row.why]
        names = _quoted(table.columns[i].strip() for i in hot)
        several = sum(sum(_FLAGS[_said(cell)] for cell in row) != 1 for row in rows)
        how = (
            f"{several} of the first {len(rows)} rows have none or several of them: --labels multi reads them all; or "
            "choose one column with --label-column"
            if several
            else "Each of the first rows has one of them. Take its heading as the class: --label-columns "
            f"{_list(table, hot)}"
        )
        return f"The labels of {path!r} are in several columns of 0 and 1 ({names}), one for each class. {how}."
    return (
        f"No column of {path!r} is plainly the label. {_has(table.columns)} Name it: --label-column COLUMN, with "
        "--labels multi if an image has several labels; or, if numbers are to be predicted, --target COLUMN."
    )


def flags(table: Table, found: Mapping[str, int]) -> tuple[int, ...]:
    """Returns the columns of which the first rows are all 0 or 1, or -1 or 1.

    Args:
      found: The columns that have a role, which are left out.
    """
    others = [i for i, name in enumerate(table.columns) if i not in found.values() and name.strip()]
    rows = [row.cells for row in itertools.islice(table.rows(others), ROWS_SEEN) if not row.why]
    return tuple(i for j, i in enumerate(others) if rows and all(_said(row[j]) in _FLAGS for row in rows))


def spoiled_flags(table: Table, found: Mapping[str, int], path: str) -> str:
    """Returns the sentence of an error: columns of 0 and 1 have a few other cells.

    It returns "" if at least two such columns are not nearly full of 0 and 1.

    Args:
      found: the columns that have a role, which are left out.
      path: of the table.
    """
    others = [i for i, name in enumerate(table.columns) if i not in found.values() and name.strip()]
    rows = [row for row in itertools.islice(table.rows(others), ROWS_SEEN) if not row.why]
    bad = {i: [row for row in rows if _said(row.cells[j]) not in _FLAGS] for j, i in enumerate(others)}
    nearly = [i for i in others if len(rows) > 3 and len(bad[i]) <= max(1, len(rows) / 10)]
    spoiled = [i for i in nearly if bad[i]]
    if len(nearly) < 2 or not spoiled:
        return ""
    row = bad[spoiled[0]][0]
    return (
        f"The columns {_quoted(table.columns[i] for i in nearly)} of {path!r} have 1 and 0, but row {row.number} has "
        f"{row.cells[others.index(spoiled[0])]!r:.60} as {table.columns[spoiled[0]]!r}. Mend it, or name the columns "
        "of the labels with --label-columns: rows with other cells are rejects then."
    )


def _said(cell: object) -> str:
    return str(cell).strip().lower()


def named(columns: Sequence[str], option: str, names: Iterable[str], path: str) -> tuple[int, ...]:
    """Returns the columns that an option names, in its order.

    Raises:
      TableError: There is no such column, or there are several, or one is named twice.
    """
    found = tuple(_column(columns, option, name, path) for name in names)
    if len(set(found)) < len(found):
        raise TableError(f"{option} names a column of {path!r} twice: {', '.join(names)}.")
    return found


def _list(table: Table, indices: Iterable[int]) -> str:
    """Returns the headings of columns as one would type them as a list, for a shell."""
    return shlex.quote(",".join(table.columns[i].strip().replace(",", "\\,") for i in indices))


def _has(columns: Sequence[str]) -> str:
    return f"It has {_quoted(columns)}."


def _quoted(columns: Iterable[str]) -> str:
    return listed((repr(cut(column, 60)) for column in columns), NAMED)


def _argument(heading: str) -> str:
    """Returns a heading as one would type it after an option."""
    return heading if re.fullmatch(r"[\w.]+", heading) else repr(heading.strip())
