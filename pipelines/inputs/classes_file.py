"""Reads the file of --classes and gives each label of the input its class.

The file is a list or a table. A list has one label a line, and each label is a class; the number of the line, from 0,
is its id. A table (.csv, .tsv) has the columns `label` and `class`; the classes have their ids in the order in which
they occur first. Several labels may have one class, an empty class leaves a label out, and the label `*` stands for all
labels that the table does not have.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import io
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines import storage
from pipelines.core import name_variants
from pipelines.core.elements import HARMLESS, Source
from pipelines.core.errors import ConfigError, SourceError
from pipelines.core.summary import Rejected
from pipelines.core.text import cut, is_label, listed, plural, printable
from pipelines.inputs import walk
from pipelines.inputs.tables.formats import text_encoding
from pipelines.tasks.kind import Kind

OTHERS = "*"  # as a label: all labels that are in no row; as its class: each label is a class of its own
LEFT_OUT = "class-left-out"
MAX_BYTES = 64 << 20
NAMED = 8  # labels that a sentence names
_TABLES = (".csv", ".tsv")
_DELIMITERS = ",;\t"


@dataclasses.dataclass(frozen=True)
class Classes:
    """States the ids of the classes, and the class of each label of the input.

    path: the file, for messages.
    names: the classes whose ids are stated, in their order.
    rows: (label, class) pairs; the class "" leaves the label out.
    others: the class of each label that is in no row. "" leaves them out, OTHERS makes each a class of its own name,
      and None refuses them.
    """

    path: str = ""
    names: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    others: str | None = None

    @property
    def stated(self) -> bool:
        """Tells whether there is a file; without one, each label is a class."""
        return bool(self.names) or self.others is not None

    @functools.cached_property
    def _known(self) -> dict[str, str]:
        return dict(self.rows)

    def class_of(self, label: str) -> str | None:
        """Returns the class of a label: "" if it is left out, None if it is refused."""
        if not self.stated:
            return label
        if label in self._known:
            return self._known[label]
        return label if self.others == OTHERS else self.others

    def noted(self) -> dict[str, Any]:
        """Returns what the contract says of it: label -> class, and the class of others."""
        return {"labels": dict(self.rows), "others": self.others} if self.stated else {}


NO_CLASSES = Classes()


def read(path: str) -> Classes:
    """Reads a file of --classes; "" states nothing.

    Raises:
      ValueError: It cannot be read or used. The message begins with "should be".
    """
    if not path:
        return NO_CLASSES
    try:
        data = storage.read_input(path, MAX_BYTES)
        text = data.decode(text_encoding.find(data, path)).removeprefix("\ufeff")
        is_table = path.lower().endswith(_TABLES)
        lines = _table(text, "\t" if path.lower().endswith(".tsv") else "") if is_table else _list(text)
        return _made(path, lines, is_table)
    except (storage.StorageError, SourceError, UnicodeDecodeError, ValueError, csv.Error) as e:
        raise ValueError(
            "should be a file with one label a line, or a .csv with the columns label and class. "
            f"{path!r} cannot be used: {str(e).rstrip('.')}."
        ) from e


def from_json(noted: Any) -> Classes:
    """Returns the classes that the settings of a dataset hold.

    What is not as `prepare` notes it states nothing.
    """
    try:
        rows = tuple((str(label), str(name)) for label, name in noted["rows"])
        others = None if noted["others"] is None else str(noted["others"])
        return Classes(str(noted["path"]), tuple(map(str, noted["names"])), rows, others)
    except (KeyError, TypeError, ValueError):
        return NO_CLASSES


def given(item: Source | Rejected, classes: Classes) -> Source | Rejected | None:
    """Returns a listed input with its class in the place of its label.

    An input of a label that is left out becomes a reject. None: the label is not known.
    """
    found = classes.class_of(item.label) if item.label else ""
    if isinstance(item, Source):
        if found is None:
            return None
        return item._replace(label=found) if found else _left_out(item.uri, item.label, classes)
    if not item.label or found is None:
        return item
    if found:
        return dataclasses.replace(item, label=found)
    counts = item.reason not in HARMLESS or item.reason == walk.EMPTY
    return _left_out(item.uri, item.label, classes) if counts else item


def renamed(item: Source | Rejected, classes: Classes, kind: Kind) -> Source | Rejected:
    """Returns a listed input whose labels are classes, if it may have several.

    A label that is left out is no label of the image any more; the image stays.
    """
    text = kind.renamed(item.label, {label: classes.class_of(label) or "" for label in kind.labels(item.label)})
    return item._replace(label=text) if isinstance(item, Source) else dataclasses.replace(item, label=text)


def by_class(values: Mapping[str, Any], classes: Classes) -> dict[str, list[Any]]:
    """Collects the values of labels by class.

    Labels that are left out or not known are not in it.
    """
    found: dict[str, list[Any]] = {}
    for label, value in values.items():
        name = classes.class_of(label)
        if name:
            found.setdefault(name, []).append(value)
    return found


def refuse_unknown(images: Mapping[str, int], classes: Classes) -> None:
    """Raises ConfigError where --classes does not have a label of the input.

    Args:
      images: label of the input -> number of its images.
    """
    unknown = sorted(label for label in images if is_label(label) and classes.class_of(label) is None)
    if unknown:
        named = listed((_unknown(label, images[label], classes) for label in unknown), NAMED)
        if classes.path.lower().endswith(_TABLES):
            remedy = "Add a row for each: an empty class leaves a label out, and the row `*,` leaves out all others"
        else:
            remedy = "Add a line for each; a .csv with the columns label and class can also leave labels out"
        raise ConfigError(
            f"--classes {classes.path!r} should have every label of the input. It does not have {named}. {remedy}."
        )


def describe(classes: Classes, images: Mapping[str, int] | None) -> Iterator[str]:
    """Yields sentences about what the file says of the input.

    Args:
      images: label of the input -> number of its images; None where they are not known yet.
    """
    shown = [cut(printable(name), 40) for name in classes.names]
    number = plural(len(shown), "class", "classes")
    yield f"Takes the ids of {number} from {classes.path!r}: {listed(shown, NAMED) or 'none'}."
    if classes.others == OTHERS:
        yield "Other labels are classes of their own name, with the ids behind these."
    labels: dict[str, list[str]] = {}
    for label, name in classes.rows:
        labels.setdefault(name, []).append(label)
    merged = [f"{name!r} is {listed(map(repr, of), NAMED)}" for name, of in labels.items() if name and of != [name]]
    if classes.others and classes.others != OTHERS:
        merged.append(f"{classes.others!r} is any other label")
    if merged:
        yield f"The class {listed(merged, NAMED, '; ')}."
    left = [*map(repr, labels.get("", [])), *(["all other labels"] if classes.others == "" else [])]
    if left:
        yield f"Leaves out the images of {listed(left, NAMED)}."
    if images is not None and (absent := [label for label, _ in classes.rows if label not in images]):
        yield f"The input has no images of these labels of {classes.path!r}: {listed(map(repr, absent), NAMED)}."


def _left_out(uri: str, label: str, classes: Classes) -> Rejected:
    detail = f"--classes {classes.path!r} leaves out the label {cut(label, 80)!r}."
    return Rejected(uri, label, "", "", "list", LEFT_OUT, detail)


def _unknown(label: str, images: int, classes: Classes) -> str:
    said = f"{cut(label, 80)!r} ({plural(images, 'image')}"
    known = [known for known, _ in classes.rows]
    folded = name_variants.folded(" ".join(label.split()))
    same = [k for k in known if name_variants.folded(" ".join(k.split())) == folded]
    if same:
        return f"{said}; {same[0]!r} differs from it in case, blanks or Unicode form only)"
    near = difflib.get_close_matches(label, known, 1)
    return f"{said}; did you mean {near[0]!r}?)" if near else f"{said})"


def _list(text: str) -> Iterator[tuple[int, str, str]]:
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield number, line, line


def _table(text: str, delimiter: str) -> Iterator[tuple[int, str, str]]:
    """Yields (number of the line, label, class) of each row."""
    heading = text.split("\n", 1)[0]
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter or max(_DELIMITERS, key=heading.count), strict=True
    )
    columns = [name.strip().lower() for name in next(rows, [])]
    if not {"label", "class"} <= set(columns):
        raise ValueError(f"its first line should name the columns label and class. It is {cut(heading.strip(), 80)!r}")
    at, to = columns.index("label"), columns.index("class")
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(at, to):
            raise ValueError(
                f"line {rows.line_num} should have a label and a class. To leave the label out, end it with a "
                f"delimiter. It is {cut(','.join(row), 80)!r}"
            )
        yield rows.line_num, row[at], row[to].strip()


def _made(path: str, lines: Iterator[tuple[int, str, str]], is_table: bool) -> Classes:
    rows: dict[str, str] = {}
    names: dict[str, None] = {}
    others: str | None = None
    for number, label, name in lines:
        stands_for_others = is_table and label.strip() == OTHERS
        if label in rows or (stands_for_others and others is not None):
            raise ValueError(f"line {number} has the label {cut(label, 80)!r} once more")
        if not is_label(label) or (name and not is_label(name)):
            raise ValueError(
                f"line {number} should have a label without control characters and marks of direction. Received: "
                f"{cut(label, 80)!r}, {cut(name, 80)!r}"
            )
        if stands_for_others:
            others = name
        else:
            rows[label] = name
        if name and not (stands_for_others and name == OTHERS):
            names[name] = None
    if not names and others != OTHERS:
        raise ValueError("it has no class")
    return Classes(path, tuple(names), tuple(rows.items()), others)
