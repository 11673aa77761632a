"""Decides what --duplicates does with images of equal content.

The functions are pure. They work on a unit, which holds all images of equal content.

keep  all images stay, in one split; the report names them
drop  of equal images under one label, the first by key stays; of equal images under several labels none stays, since
      any choice of a label would be a guess
fail  the run ends before anything is published
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam

from pipelines.core.elements import Ref
from pipelines.core.errors import DuplicatesError
from pipelines.core.summary import Duplicates, Rejected
from pipelines.core.text import cut, listed

MOST_NAMED = 3
MOST_MEMBERS = 100


def groups(refs: Iterable[Ref]) -> Iterator[list[Ref]]:
    """Yields each group of two or more refs with equal content, in order of content.

    The refs of a group are in order of key.
    """
    ordered = sorted(refs, key=lambda ref: (ref.digest, ref.key))
    for _, equal in itertools.groupby(ordered, key=lambda ref: ref.digest):
        members = list(equal)
        if len(members) > 1:
            yield members


def told(equal: Sequence[Ref]) -> Duplicates:
    """Describes a group of refs with equal content by at most MOST_MEMBERS of them.

    These are chosen so that they cover as many labels and splits as possible. Without the limit, a million copies of
    one picture would become a line of 100 MB.
    """
    members = [(ref.uri, ref.label, ref.split) for ref in equal]
    if len(members) <= MOST_MEMBERS:
        return Duplicates(equal[0].digest, tuple(members))
    first = {(label, split): number for number, (_, label, split) in reversed(list(enumerate(members)))}
    chosen = dict.fromkeys(sorted(first.values())[:MOST_MEMBERS])
    chosen.update(dict.fromkeys(range(MOST_MEMBERS)))
    kept = sorted(list(chosen)[:MOST_MEMBERS])
    return Duplicates(equal[0].digest, tuple(members[number] for number in kept), len(members) - len(kept))


def separate(refs: Iterable[Ref], mode: str) -> tuple[list[Ref], list[Rejected]]:
    """Separates the refs of a unit into those that stay and those that are dropped.

    Args:
      mode: the value of --duplicates: "keep", "drop" or "fail".

    Returns:
      (the refs that stay, sorted; rejects for the refs that --duplicates drops).
    """
    everything = sorted(refs)
    if mode != "drop":
        return everything, []
    rejected: list[Rejected] = []
    dropped: set[str] = set()
    for equal in groups(everything):
        labels = sorted({ref.label for ref in equal})
        if len(labels) > 1:
            reason, gone = "conflicting-labels", equal
            named = listed((cut(label, 80) for label in labels), 5)
            detail = f"The same picture has the labels {named}: at least one label is wrong."
        else:
            reason, gone = "duplicate", equal[1:]
            detail = f"Equal to {cut(equal[0].uri, 500)}, which is kept."
        dropped.update(ref.key for ref in gone)
        rejected += [Rejected(r.uri, r.label, r.split, r.digest, "duplicates", reason, detail) for r in gone]
    return [ref for ref in everything if ref.key not in dropped], rejected


class Found(NamedTuple):
    """Holds the number of groups of equal images, and the first few groups.

    conflicting: the number of groups under several labels.
    first: groups under several labels come first, then the order is that of the content.
    """

    groups: int = 0
    conflicting: int = 0
    first: tuple[Duplicates, ...] = ()


class First(beam.CombineFn):
    """Combines Duplicates into a Found, in which conflicting groups come first."""

    def create_accumulator(self) -> Found:
        return Found()

    def add_input(self, found: Found, element: Duplicates) -> Found:
        return self.merge_accumulators([found, Found(1, int(element.conflicting), (element,))])

    def merge_accumulators(self, accumulators: Iterable[Found]) -> Found:
        together = list(accumulators)
        named = sorted((d for a in together for d in a.first), key=lambda d: (not d.conflicting, d.digest))
        return Found(sum(a.groups for a in together), sum(a.conflicting for a in together), tuple(named[:MOST_NAMED]))

    def extract_output(self, found: Found) -> Found:
        return found


def refuse(found: Found) -> None:
    """Raises DuplicatesError where there is any group."""
    if found.groups:
        groups_named = ([f"{cut(uri, 300)} ({cut(label, 80)})" for uri, label, _ in d.members[:4]] for d in found.first)
        named = "; ".join(map(" = ".join, groups_named))
        raise DuplicatesError(
            f"--duplicates fail: {found.groups} pictures occur more than once, {found.conflicting} of them with more "
            f"than one label. First: {named}. Remove them, or use --duplicates drop. Nothing was published."
        )
