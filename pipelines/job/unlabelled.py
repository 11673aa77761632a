"""Defines the stages that keep images without a label apart from the others.

They are separated before splits are drawn, so that no labelled image gets another split, copy or shard because of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, TaggedOutput

from pipelines.core.elements import Ref, pack, unpack
from pipelines.core.summary import Rejected, Twin
from pipelines.core.text import cut
from pipelines.job import counters, split_units
from pipelines.plan import duplicates, similar
from pipelines.tasks.kind import Kind

HAS_A_LABEL = "has-a-label"
# (SHA-256, paths of the images without a label) of content that a labelled image has, too
Twins = Sequence[tuple[str, Sequence[str]]]


def separate(bucket: tuple[int, Iterable[bytes]], mode: str, kind: Kind) -> Iterator[Any]:
    """Yields a bucket of (digest, Ref) pairs without the images that have no label.

    These go to the output "unlabelled", as packed references. Groups of equal ones among them go to "duplicates". Of
    those whose content is that of a labelled image, the digest and the paths go to "twins". With --duplicates drop they
    are rejects, as are all but the first of equal ones.

    Args:
      mode: the value of --duplicates.
    """
    labelled: list[tuple[str, Ref]] = []
    without: list[Ref] = []
    for digest, refs in split_units.units_of(bucket):
        having = [ref for ref in refs if not kind.is_unknown(ref.label)]
        lacking = sorted((ref for ref in refs if kind.is_unknown(ref.label)), key=lambda ref: ref.key)
        labelled += ((digest, ref) for ref in having)
        if not lacking:
            continue
        if having:
            yield TaggedOutput("twins", (digest, [ref.uri for ref in lacking[: duplicates.MOST_MEMBERS]]))
        if len(lacking) > 1 or (mode == "fail" and len(having) == 1):
            yield TaggedOutput("duplicates", duplicates.told([*having[:1], *(r._replace(label="") for r in lacking)]))
        rejected = _rejected(having, lacking) if mode == "drop" else []
        without += lacking[len(rejected) :] if having else lacking[: len(lacking) - len(rejected)]
        for reject in rejected:
            counters.count_reject(reject)
            yield TaggedOutput("rejected", reject)
    for start in range(0, len(without), split_units.BUCKET):
        yield TaggedOutput("unlabelled", pack(without[start : start + split_units.BUCKET]))
    if labelled:
        yield bucket[0], [pack(labelled)]


def _rejected(having: Sequence[Ref], lacking: Sequence[Ref]) -> list[Rejected]:
    """Returns what --duplicates drop rejects of equal images without a label."""
    if having:
        reason, first, gone = HAS_A_LABEL, having[0], lacking
        detail = f"Equal to {cut(first.uri, 500)}, which has the label {cut(first.label, 80)}."
    else:
        reason, first, gone = "duplicate", lacking[0], lacking[1:]
        detail = f"Equal to {cut(first.uri, 500)}, which is kept."
    return [Rejected(ref.uri, "", ref.split, ref.digest, "duplicates", reason, detail) for ref in gone]


def twins(refs: bytes, found: Twins) -> Iterator[Twin]:
    """Yields the labelled images that are equal to images without a label."""
    known: Mapping[str, Sequence[str]] = dict(found)
    for ref in unpack([refs]) if known else ():
        if ref.digest in known:
            yield Twin(ref.digest, ref.uri, ref.label, ref.split, tuple(known[ref.digest]))


def looks(refs: bytes) -> Iterator[tuple[bytes, str]]:
    """Yields (perceptual hash, content digest) of the images that have a hash."""
    yield from ((ref.look, ref.digest) for ref in unpack([refs]) if ref.look)


class Alike(beam.DoFn):
    """Finds the labelled images that look like images without a label.

    Input: packed references, and the result of `looks` for the images without a label. Output: `Twin`, of other content
    than these images have.

    Args:
      bits: the value of --group-similar.
    """

    def __init__(self, bits: int):
        self._bits = bits

    def start_bundle(self) -> None:
        self._near: similar.Near | None = None

    def process(self, refs: bytes, found: Sequence[tuple[bytes, str]]) -> Iterator[Twin]:
        if not found:
            return
        if self._near is None:
            self._near = similar.Near([look for look, _ in found], self._bits)
            self._equal = {digest for _, digest in found}
        own = [ref for ref in unpack([refs]) if ref.look and ref.digest not in self._equal]
        for ref, is_near in zip(own, self._near.has([ref.look for ref in own]), strict=True):
            if is_near:
                yield Twin(ref.digest, ref.uri, ref.label, ref.split, ())


def find_alike(assigned: beam.PCollection, without: beam.PCollection, bits: int) -> beam.PCollection:
    """Adds the stages that find labelled images that look like unlabelled ones.

    Only the hashes of the latter are gathered in one place.
    """
    gathered = AsSingleton(
        without | "LooksWithoutLabel" >> beam.FlatMap(looks) | "GatherLooksWithoutLabel" >> beam.combiners.ToList()
    )
    return assigned | "FindAlike" >> beam.ParDo(Alike(bits), gathered)


def find_twins(assigned: beam.PCollection, found: beam.PCollection) -> beam.PCollection:
    """Adds the stages that find the split of labelled images with a twin.

    Content that both kinds have is rare, so it is gathered in one place.
    """
    gathered = AsSingleton(found | "GatherTwins" >> beam.combiners.ToList())
    return assigned | "FindTwins" >> beam.FlatMap(twins, gathered)
