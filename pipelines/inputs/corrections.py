"""Reads a table of labels that people gave or mended.

They count in place of those of the input.

`trainer predict --table` and `trainer label-check` write such tables. A row names an image by the key of its record or
by its path, and has its label. The columns are

    key         the key of the record, as ledgers and predictions have it
    path        the path of the image below the input, or as the command line leads to it
    label       the label that the image gets; an empty cell leaves the image as the input has it
    answer      what a model answered. A label that is equal to it was changed by nobody
    confidence  how sure the model was. Below --min-confidence, a label that nobody changed is no label
    suggested   another label
    keep        no takes the suggested label, drop leaves the image out; yes or nothing takes the label
    split       the split of an image that has no label in the input; an empty cell lets it be drawn
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.core import hashing
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError
from pipelines.core.files import members
from pipelines.core.summary import Rejected
from pipelines.core.text import cut, is_label, listed, plural
from pipelines.inputs.layouts.split_names import SPLIT_NAMES, SPLIT_PATTERN
from pipelines.inputs.rules import InputSpec, TableSpec, reject
from pipelines.inputs.tables.formats import table_file
from pipelines.tasks import multi_label, regression
from pipelines.tasks.kind import Kind
from pipelines.tasks.kinds import KINDS

COLUMNS = ("key", "path", "label", "answer", "confidence", "suggested", "keep", "split")
DROPPED = "dropped"
MOST_BYTES = 1 << 30
NAMED = 5  # rows or labels that an error names
_YES, _NO, _DROP = ("", "yes", "y", "true", "1", "keep"), ("no", "n", "false", "0"), ("drop",)


class Row(NamedTuple):
    """Holds what one row says of an image.

    number: from 1, without the heading.
    name: how it names the image, for messages.
    label: the text of the answer; "" leaves the image as it is.
    split: "" states none.
    drop: whether the image is left out.
    """

    number: int
    name: str
    label: str
    split: str = ""
    drop: bool = False


class Corrections:
    """Holds the rows of a table of corrections, and finds those of an image.

    Raises:
      SourceError: the table cannot be read.
      ConfigError: a row cannot be used, or two rows name one image.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._kind = KINDS[spec.table.task]
        self._by_key: dict[str, Row] = {}
        self._by_path: dict[str, Row] = {}
        self._found: dict[int, str] = {}  # number of a row -> key of its image
        self._of_input: set[str] = set()  # labels of the input
        self._reasons: dict[int, str] = {}  # number of a row -> why its input is no image
        self._given: dict[str, Row] = {}  # label -> the first row that gives it
        self._unsure = 0  # rows whose answer is below --min-confidence
        self._unchanged = 0  # answers of a model that nobody changed, and that are taken
        for row, key, path in self._rows():
            for names, name in ((self._by_key, key), (self._by_path, "" if key else path)):
                if name in names:
                    raise self._bad(row.number, f"names the image {name!r} again, after row {names[name].number}")
                if name:
                    names[name] = row

    def describe(self) -> str:
        """Returns a sentence that says how many labels the table has."""
        rows = [*self._by_key.values(), *self._by_path.values()]
        counts = {
            "give a label": sum(bool(row.label) and not row.drop for row in rows),
            "leave their image out": sum(row.drop for row in rows),
            f"are less sure than {self._spec.min_confidence:g} and count as empty": self._unsure,
            "are empty": sum(not row.label and not row.drop for row in rows) - self._unsure,
        }
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        unchanged = f" Of these labels, {self._unchanged:,} are answers of a model that nobody changed."
        return (
            f"Takes labels from {self._spec.corrections!r}: {plural(len(rows), 'row')}, {said or 'none of use'}."
            f"{unchanged if self._unchanged else ''}"
        )

    def see(self, item: Rejected) -> None:
        """Notes an input that is no image: a row that names it has no use."""
        self._of_input.update(self._kind.labels(item.label) if item.label else ())
        row = self._by_path.get(members.readable(item.uri))
        if row is not None:
            self._reasons[row.number] = item.reason

    def apply(self, item: Source) -> Source | Rejected:
        """Returns an image of the input with the label that the table gives it.

        Raises:
          ConfigError: two rows name it, or a row states a split for an image that has a label.
        """
        is_unknown = self._kind.is_unknown(item.label)
        if not is_unknown:
            self._of_input.update(self._kind.labels(item.label))
        row = self._row_of(item)
        if row is None:
            return item
        if row.drop:
            return reject(item.uri, DROPPED, f"Row {row.number} of {self._spec.corrections!r} leaves it out.",
                          "" if is_unknown else item.label)  # fmt: skip
        if row.split and not is_unknown and row.split != item.split:
            raise self._bad(
                row.number,
                f"states the split {row.split!r} for {row.name!r}, which has a label in the input. Its split follows "
                "from the input: leave the cell empty",
            )
        if not row.label:
            return item
        label = self._class_of(row)
        if label is None:
            detail = f"Row {row.number} of {self._spec.corrections!r} gives it a label that --classes leaves out."
            return reject(item.uri, DROPPED, detail, "" if is_unknown else item.label)
        return item._replace(label=label, split=row.split if is_unknown else item.split)

    def check(self) -> None:
        """Checks the table after all images of the input were seen.

        Raises:
          ConfigError: a row names no image, or gives a label that is no class.
        """
        every = [*self._by_key.values(), *self._by_path.values()]
        missing = [row for row in every if row.number not in self._found]
        if missing:
            named = listed((self._missed(row) for row in missing), NAMED)
            raise ConfigError(
                f"--corrections {self._spec.corrections!r} has {plural(len(missing), 'row')} that {_names(missing)} no "
                f"image of the input: {named}. Take them out, or give the input that the table was made of."
            )
        known = self._of_input | set(self._spec.classes.names) | set(self._spec.known_labels)
        unknown = [label for label in self._given if known and label not in known]
        if unknown:
            raise ConfigError(
                f"--corrections {self._spec.corrections!r} has labels that are no class of the input: "
                f"{listed((self._guessed(label, known) for label in sorted(unknown)), NAMED)}. Mend them; a new class "
                "is named in the file of --classes."
            )

    def _missed(self, row: Row) -> str:
        why = f", which is rejected as {self._reasons[row.number]}" if row.number in self._reasons else ""
        return f"{row.name!r} (row {row.number}{why})"

    def _guessed(self, label: str, known: set[str]) -> str:
        near = difflib.get_close_matches(label, sorted(known), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{cut(label, 80)!r} (row {self._given[label].number}{hint})"

    def _row_of(self, item: Source) -> Row | None:
        uri = members.readable(item.uri)
        names = {item.key, item.uri, uri, os.path.abspath(uri)}
        rows = {row.number: row for name in names if (row := self._by_path.get(name)) is not None}
        if (by_key := self._by_key.get(hashing.record_key(item.key, 0))) is not None:
            rows[by_key.number] = by_key
        for row in rows.values():
            if len(rows) > 1 or self._found.setdefault(row.number, item.key) != item.key:
                numbers = ", ".join(map(str, sorted(rows)))
                raise ConfigError(
                    f"--corrections {self._spec.corrections!r} should have one row for each image. {item.key!r} has "
                    f"the rows {numbers}."
                    if len(rows) > 1
                    else f"Row {row.number} of --corrections {self._spec.corrections!r} names two images: "
                    f"{self._found[row.number]!r} and {item.key!r}."
                )
        return next(iter(rows.values()), None)

    def _class_of(self, row: Row) -> str | None:
        """Returns the answer of a row in classes; None if they are left out."""
        classes = self._spec.classes
        labels = self._kind.labels(row.label)
        named: dict[str, str] = {}
        for label in labels:
            found = label if label in classes.names else classes.class_of(label)
            named[label] = label if found is None else found
            if named[label]:
                self._given.setdefault(named[label], row)
        if not classes.stated:
            return row.label
        text = self._kind.renamed(row.label, named)
        return text or None

    def _rows(self) -> Iterator[tuple[Row, str, str]]:
        """Yields each row with the key and the path of its image."""
        path = self._spec.corrections
        table = table_file.parse(path, table_file.load(path, MOST_BYTES), TableSpec(), COLUMNS)
        plain = [column.strip().lower() for column in table.columns]
        twice = [name for name in COLUMNS if plain.count(name) > 1]
        if "label" not in plain or not {"key", "path"} & set(plain) or twice:
            raise ConfigError(
                f"--corrections {path!r} should have the columns path (or key) and label, each once. It has "
                f"{listed(map(repr, table.columns), 12) or 'none'}."
            )
        names = [name for name in COLUMNS if name in plain]
        for read in table.rows([plain.index(name) for name in names]):
            if read.why:
                raise self._bad(read.number, read.why)
            yield self._row(read.number, dict(zip(names, read.cells, strict=True)))

    def _row(self, number: int, cells: Mapping[str, Any]) -> tuple[Row, str, str]:
        texts = {name: _text(cells.get(name)) for name in COLUMNS}
        key, path = texts["key"], texts["path"].replace("\\", "/") if os.sep == "\\" else texts["path"]
        if not key and not path:
            raise self._bad(number, "should name an image, by its path or its key")
        name = path or key
        keep = texts["keep"].lower()
        if keep not in (*_YES, *_NO, *_DROP):
            raise self._bad(
                number, f"should have yes, no, drop or nothing as its keep. Received: {texts['keep']!r:.80}"
            )
        if keep in _NO and not texts["suggested"]:
            raise self._bad(number, "says no to the label, and suggests none. Write the right one as its label")
        cell = cells["suggested"] if keep in _NO else cells["label"]
        label = "" if keep in _DROP else self._answer(number, cell)
        if label and keep not in _NO and not self._is_sure(number, label, cells):
            label = ""
        split = texts["split"]
        if split and not re.fullmatch(SPLIT_PATTERN, split):
            raise self._bad(number, f"should have a split of letters, digits and _. Received: {split!r:.80}")
        known = Row(number, name, label, SPLIT_NAMES.get(split.lower(), split), keep in _DROP)
        return known, key, posixpath.normpath(path) if path and "://" not in path else path

    def _is_sure(self, number: int, label: str, cells: Mapping[str, Any]) -> bool:
        """Tells whether a label counts: a person gave it, or the model was sure enough."""
        answered = self._answer(number, cells["answer"]) if _text(cells.get("answer")) else ""
        if "answer" in cells and label != answered:
            return True
        confidence = _number(_text(cells.get("confidence")))
        if confidence is None:
            return True
        if math.isnan(confidence):
            raise self._bad(number, f"should have a number as its confidence. Received: {cells['confidence']!r:.80}")
        self._unchanged += confidence >= self._spec.min_confidence
        self._unsure += confidence < self._spec.min_confidence
        return confidence >= self._spec.min_confidence

    def _answer(self, number: int, cell: Any) -> str:
        """Returns the text of the answer that a cell has; "" if it is empty."""
        text = _text(cell)
        if not text:
            return ""
        found = _answer_of(cell, text, self._kind, len(self._spec.table.targets))
        if found is None:
            expected = (
                f"{plural(len(self._spec.table.targets), 'number')}, separated by commas"
                if self._kind.has_numbers
                else "a label without control characters"
            )
            raise self._bad(number, f"should have {expected} as its label. Received: {text!r:.80}")
        return found

    def _bad(self, number: int, what: str) -> ConfigError:
        return ConfigError(f"Row {number} of --corrections {self._spec.corrections!r} {what}.")


def digest(path: str) -> str:
    """Returns the SHA-256 of a table of corrections, in hex.

    Raises:
      SourceError: it cannot be read.
    """
    return hashlib.sha256(table_file.load(path, MOST_BYTES)).hexdigest()


def _names(rows: Sequence[Row]) -> str:
    return "names" if len(rows) == 1 else "name"


def _answer_of(cell: Any, text: str, kind: Kind, targets: int) -> str | None:
    """Returns the text of an answer in a cell, or None if it is none."""
    if kind.has_numbers:
        parts = list(cell) if isinstance(cell, (list, tuple)) else text.split(",")
        found = regression.of_cells(parts, [""] * targets) if len(parts) == targets else ""
        return None if isinstance(found, str) else regression.text_of(found)
    if kind.is_one_class:
        return text if is_label(text) else None
    labels = multi_label.of_cell(cell, "") if isinstance(cell, (list, tuple)) else multi_label.parsed(text)
    return None if isinstance(labels, str) or not all(map(is_label, labels)) else multi_label.text_of(labels)


def _text(cell: Any) -> str:
    """Returns a cell as text; "" if it is empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return str(cell).strip()


def _number(text: str) -> float | None:
    """Returns a number, which may have a decimal comma.

    None: the text is empty. NaN: it is no number.
    """
    if not text:
        return None
    try:
        return float(text.replace(",", ".", 1))
    except ValueError:
        return math.nan
