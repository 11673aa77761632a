"""Writes the tables of findings in docs/doctor.md from the doctor's catalogue.

`make docs` runs it.
"""

from __future__ import annotations

import pathlib
import sys

PAGE = pathlib.Path(__file__).with_name("doctor.md")
sys.path.insert(0, str(PAGE.parent.parent))

from trainer.doctor import catalogue  # noqa: E402 - found by the path above

HEAD = ("| finding | level | what is looked at, and where the limit comes from |", "|---|---|---|")


def main() -> int:
    PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def regenerated(page: str) -> str:
    """Returns the page with each group's table between the marks of the group.

    Raises:
      ValueError: a group of the catalogue has no marks in the page.
    """
    for group in catalogue.GROUPS:
        begin, end = (f"<!-- findings of {group}: {word} -->" for word in ("begin", "end"))
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"docs/doctor.md should have {begin} and {end} once each")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{table(group)}\n{end}{rest.partition(end)[2]}"
    return page


def table(group: str) -> str:
    """Returns the table of a group, with a row for each finding."""
    entries = [entry for entry in catalogue.entries().values() if entry.group == group]
    return "\n".join([*HEAD, *(f"| `{e.id}` | {', '.join(e.levels)} | {e.documentation} |" for e in entries)])


if __name__ == "__main__":
    sys.exit(main())
