"""Reads delimited text as records, whatever is wrong with its quotes.

Python's own csv is not used: two stray quotes make one record of all rows between them, and a cell of more than
131,072 characters ends it.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
MOST_LINES = 200  # of one record; after more, the quote that began it is a stray one
_QUOTED = {
    delimiter: re.compile(f'{blanks}"([^"]*(?:""[^"]*)*)"(?!"){blanks}')
    for delimiter, blanks in {",": " *", ";": " *", "\t": " *", "|": " *", " ": ""}.items()
}
_OPENS = re.compile(' *"')
_NOT_CLOSED = "has a quote that is not closed in its line. Take it out, or double it and quote the whole cell"


class Record(NamedTuple):
    """Holds the cells of one record.

    Attributes:
      cells: The cells, without the quotes around them.
      why: "" for a good record, or a part of a sentence that says what is wrong with it.
    """

    cells: list[str]
    why: str = ""


def read(lines: Iterable[str], delimiter: str, width: int) -> Iterator[Record]:
    """Yields the records of lines that each end with their line end.

    A quoted cell may hold line ends. But if every line of such a record is a whole row by itself, the quotes are stray
    ones: then the lines with the quotes are bad records, and the lines between are records.

    Args:
      width: The number of cells of the heading.
    """
    rest, waiting = iter(lines), collections.deque[tuple[str, bool]]()

    def following() -> tuple[str, bool] | None:
        if waiting:
            return waiting.popleft()
        line = next(rest, None)
        return None if line is None else (line, False)

    while (taken := following()) is not None:
        line, is_second = taken
        if is_second:
            yield Record(loose_cells(line, delimiter), _NOT_CLOSED)
            continue
        if '"' not in line:
            yield Record(_body(line).split(delimiter))
            continue
        several, text = [line], line
        cells, why = _strict_cells(_body(text), delimiter)
        while cells is None and not why and len(several) < MOST_LINES:
            more = following()
            if more is None:
                break
            several.append(more[0])
            text += more[0]
            if '"' in more[0]:
                cells, why = _strict_cells(_body(text), delimiter)
        if cells is not None and not _are_rows(several, delimiter, width):
            yield Record(cells)
            continue
        yield Record(loose_cells(line, delimiter), why if len(several) == 1 and why else _NOT_CLOSED)
        others = [(one, False) for one in several[1:]]
        if cells is not None:
            others[-1] = (others[-1][0], True)
        waiting.extendleft(reversed(others))


def loose_cells(line: str, delimiter: str) -> list[str]:
    """Returns the cells of one line.

    A quote that is not closed in it is a character like others.
    """
    cells, at, body = [], 0, _body(line)
    while True:
        match = _QUOTED[delimiter].match(body, at)
        if match is not None and (match.end() == len(body) or body.startswith(delimiter, match.end())):
            cells.append(match[1].replace('""', '"'))
            at = match.end()
        else:
            end = body.find(delimiter, at)
            end = len(body) if end < 0 else end
            cells.append(body[at:end])
            at = end
        if at == len(body):
            return cells
        at += len(delimiter)


def _strict_cells(text: str, delimiter: str) -> tuple[list[str] | None, str]:
    """Returns (cells, "") of a record.

    It returns (None, "") if a quoted cell goes on in the next line, and (None, what is wrong) if none can.
    """
    cells, at = [], 0
    while True:
        match = _QUOTED[delimiter].match(text, at)
        if match is not None:
            if match.end() < len(text) and not text.startswith(delimiter, match.end()):
                return None, "has characters behind a closing quote. Double the quotes inside of a cell"
            cells.append(match[1].replace('""', '"'))
            at = match.end()
        elif _OPENS.match(text, at) if delimiter != " " else text.startswith('"', at):
            return None, ""
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
            cells.append(text[at:end])
            at = end
        if at == len(text):
            return cells, ""
        at += len(delimiter)


def _are_rows(lines: Sequence[str], delimiter: str, width: int) -> bool:
    """Tells whether each of several lines is a whole row by itself."""
    return width > 1 and len(lines) > 1 and all(len(loose_cells(line, delimiter)) == width for line in lines)


def _body(line: str) -> str:
    """Returns a line without its line end."""
    return line[:-2] if line.endswith("\r\n") else line[:-1] if line.endswith(("\n", "\r")) else line


def sniff(lines: Sequence[str], candidates: Sequence[str], known: Sequence[str]) -> list[str]:
    """Returns the names of the delimiters that the first lines of a table may have.

    Where several split the heading, those count that give a heading with a known name; else those that give all lines
    as many cells.

    Args:
      lines: The heading and some lines after it.
      candidates: Names of DELIMITERS.
      known: Headings in lower case.
    """
    split = {
        name: [[cell.strip() for cell in loose_cells(line, DELIMITERS[name])] for line in lines] for name in candidates
    }
    several = [name for name, rows in split.items() if len(rows[0]) > 1]
    if len(several) > 1:
        named = [name for name in several if any(cell.lower() in known for cell in split[name][0])]
        several = named or several
    if len(several) > 1:
        even = [name for name in several if len({len(cells) for cells in split[name]}) == 1]
        several = even or several
    return several
