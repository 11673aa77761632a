"""Defines the stages that form units and give them their splits.

A unit is the images that stay in one split: those of equal content or of one group. Units travel in buckets, many in
one element.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from apache_beam.pvalue import TaggedOutput

from pipelines.core import hashing
from pipelines.core.elements import TRAIN_SPLIT, Ref, pack, unpack
from pipelines.core.summary import Kept, Rejected, Straddling
from pipelines.job import counters
from pipelines.plan import duplicates, folds, similar, splits, stratify
from pipelines.plan.rank_histogram import RankHistogram
from pipelines.tasks import regression
from pipelines.tasks.kind import Edges, Kind
from pipelines.tasks.kinds import ONE_CLASS

# Approximate number of references in one element after the shuffle.
BUCKET = 1024


def in_buckets(refs: Iterable[tuple[str, Ref]], total: int) -> Iterator[tuple[int, bytes]]:
    """Packs (unit, Ref) pairs into buckets; yields (bucket, packed pairs).

    All references of a unit are in one bucket. A bucket holds about BUCKET of the `total` references. Results for a
    unit do not depend on its bucket: buckets only keep the number of elements small.
    """
    buckets: dict[int, list[tuple[str, Ref]]] = collections.defaultdict(list)
    count = max(1, total // BUCKET)
    for unit, ref in refs:
        buckets[hashing.position(0, "bucket", unit) % count].append((unit, ref))
    for bucket, pairs in buckets.items():
        yield bucket, pack(pairs)


def units_of(bucket: tuple[int, Iterable[bytes]]) -> Iterator[tuple[str, list[Ref]]]:
    """Yields (unit, its references in sorted order) of each unit in a bucket."""
    for unit, pairs in itertools.groupby(sorted(unpack(bucket[1])), key=lambda pair: pair[0]):
        yield unit, [ref for _, ref in pairs]


def bridges(bucket: tuple[int, Iterable[bytes]]) -> Iterator[list[str]]:
    """Yields the groups that equal content connects, if there are two or more."""
    for digest, refs in units_of(bucket):
        groups = sorted({ref.group or digest for ref in refs})
        if len(groups) > 1:
            yield groups


def looks(bucket: tuple[int, Iterable[bytes]]) -> Iterator[list[tuple[bytes, str]]]:
    """Yields (perceptual hash, unit) of the images of a bucket that have a hash.

    The unit is the group of the image, or its content digest.
    """
    found = [(refs[0].look, refs[0].group or digest) for digest, refs in units_of(bucket) if refs[0].look]
    if found:
        yield found


def merged(connected: Iterable[list[str]], hashed: Iterable[list[tuple[bytes, str]]], bits: int) -> dict[str, str]:
    """Returns the unit that each group is merged into.

    Args:
      connected: groups that equal content connects.
      hashed: as of `looks`.
      bits: the value of --group-similar.
    """
    alike = similar.edges(itertools.chain.from_iterable(hashed), bits) if bits else []
    return splits.components([*sorted(connected), *alike])


def keep_splits(bucket: tuple[int, Iterable[bytes]], kind: Kind = ONE_CLASS) -> Iterator[Any]:
    """Gives images the split that images of equal content have in an earlier dataset.

    A Ref without a key is such an image; see `like.images`. An image without a label keeps no split. Yields the bucket
    without the former, in the form of its input. A Kept goes to the output "like".
    """
    pairs: list[tuple[str, Ref]] = []
    gone: list[str] = []
    kept = new = moved = 0
    for digest, everything in units_of(bucket):
        earlier = [ref for ref in everything if not ref.key]
        without = [ref for ref in everything if ref.key and kind.is_unknown(ref.label)]
        refs = [ref for ref in everything if ref.key and ref not in without]
        pairs += ((digest, ref) for ref in without)
        splits_there = sorted({ref.split for ref in earlier})
        if earlier and not refs and not without:
            gone += [ref.uri for ref in earlier]
        for ref in refs:
            if splits_there:
                split = ref.split if ref.split in splits_there else splits_there[0]
                kept, moved = kept + 1, moved + (ref.split not in ("", split))
                ref = ref._replace(split=split, kept=True)
            new += not ref.kept
            pairs.append((digest, ref))
    yield TaggedOutput("like", Kept(kept, new, moved, tuple(gone)))
    yield bucket[0], [pack(pairs)]


def by_group(bucket: tuple[int, Iterable[bytes]], merged: Mapping[str, str], total: int) -> Iterator[tuple[int, bytes]]:
    """Packs references by group; yields (bucket, packed (unit, Ref)).

    The unit is the group of the image, or the group that it was merged into. An image without a group is in the unit
    of its content digest.
    """
    pairs = ((ref.group or digest, ref) for digest, refs in units_of(bucket) for ref in refs)
    yield from in_buckets(((merged.get(group, group), ref) for group, ref in pairs), total)


# (the split that the input states for a unit, or "", or KEPT and the split that --like keeps; the unit's label)
Key = tuple[str, str]
KEPT = "="  # no name of a split begins with it


def unit_ranks(
    bucket: tuple[int, Iterable[bytes]], mode: str, seed: int, kind: Kind = ONE_CLASS, edges: Edges = ()
) -> Iterator[tuple[Key, RankHistogram]]:
    """Collects the hash positions of units; yields (Key, RankHistogram).

    Each unit has its number of images as weight. Units for which the input states several splits are left out.

    Args:
      mode: the value of --duplicates.
      edges: as of `edges_of`.
    """
    ranks: dict[Key, RankHistogram] = collections.defaultdict(RankHistogram)
    for unit, everything in units_of(bucket):
        refs = duplicates.separate(everything, mode)[0]
        given = _given(refs)
        if refs and len(given) < 2:
            kept = KEPT if any(ref.kept for ref in refs) else ""
            key = (kept + given[0] if given else "", unit_label(refs, kind, edges))
            ranks[key].add(hashing.position(seed, "split", unit), len(refs))
    yield from ranks.items()


def carries(
    profiles: Mapping[Key, splits.Profile],
    fractions: Mapping[str, float],
    validation_from: Mapping[str, float],
    continues: bool = False,
) -> dict[Key, splits.Carry]:
    """Returns how each class is cut into splits.

    Classes of stated splits that are not divided are left out.

    Args:
      profiles: of the units of each class.
      fractions: the value of --splits.
      validation_from: the value of --validation-from.
      continues: whether --like keeps splits. The split that --validation-from names may then have no new images.

    Raises:
      SourceError: as `splits.shares_by_given`.
    """
    given_splits = {given for given, _ in profiles if not given.startswith(KEPT)}
    if continues:
        validation_from = {name: share for name, share in validation_from.items() if name in given_splits}
    there: collections.Counter[str] = collections.Counter()
    for (given, _), profile in profiles.items():
        if given.startswith(KEPT):
            there[given.removeprefix(KEPT)] += profile.total
    shares = splits.shares_by_given(given_splits, fractions, validation_from)
    made: dict[Key, splits.Carry] = {}
    for divided, parts in shares.items():
        classes = {label: profile for (given, label), profile in profiles.items() if given == divided}
        begin = splits.rounding_of(there, parts) if not divided else ()
        made |= {(divided, label): carry for label, carry in splits.carried(classes, parts, begin).items()}
    return made


def stratified(
    profiles: Mapping[Key, splits.Profile], fractions: Mapping[str, float], validation_from: Mapping[str, float]
) -> dict[Key, dict[str, int]]:
    """Returns how many units that count for the same go to each split.

    It is `carries` for images that do not have one class each. Units of stated splits that are not divided are left
    out.

    Raises:
      SourceError: as `splits.shares_by_given`.
    """
    made: dict[Key, dict[str, int]] = {}
    for divided, parts in splits.shares_by_given({given for given, _ in profiles}, fractions, validation_from).items():
        names = [name for name, share in parts.items() if share > 0]
        found = {signature: profile.units for (given, signature), profile in profiles.items() if given == divided}
        for signature, counts in stratify.distribute(found, parts).items():
            made[divided, signature] = dict(zip(names, counts, strict=True))
    return made


def cuts(
    ranked: tuple[Key, RankHistogram], wanted: Mapping[Key, splits.Carry | Mapping[str, int]]
) -> Iterator[tuple[Key, Any]]:
    """Yields the cuts of one class, or of units that count for the same.

    Nothing comes of those that are not divided.
    """
    key, histogram = ranked
    if key in wanted:
        how = wanted[key]
        if isinstance(how, splits.Carry):
            yield key, splits.split_cuts(histogram, how)
        else:
            yield key, splits.counted_cuts(histogram, how)


def value_ranks(bucket: tuple[int, Iterable[bytes]], kind: Kind) -> Iterator[tuple[int, RankHistogram]]:
    """Collects the numbers of images as positions; yields (target, RankHistogram)."""
    ranks: dict[int, RankHistogram] = collections.defaultdict(RankHistogram)
    for _, ref in unpack(bucket[1]):
        for number, value in enumerate(kind.values(ref.label)[: regression.MOST_STRATIFIED]):
            ranks[number].add(regression.position(value))
    yield from ranks.items()


def edges_of(ranks: Mapping[int, RankHistogram]) -> Edges:
    """Returns for each target the positions that divide its values into quantiles."""
    number = regression.bins(len(ranks))
    return [
        sorted({ranks[target].threshold(ranks[target].total * part // number) for part in range(1, number)})
        for target in sorted(ranks)
    ]


def _given(refs: Iterable[Ref]) -> list[str]:
    """Returns the splits that the input states for references, each once."""
    return list(dict.fromkeys(ref.split for ref in refs if ref.split))


def unit_label(refs: list[Ref], kind: Kind = ONE_CLASS, edges: Edges = ()) -> str:
    """Returns what a unit counts for in stratified splitting.

    It is the most frequent class of the unit; of equally frequent ones it is the first by name. If images do not have
    one class each, it is the text of a `stratify.Signature`.
    """
    if not kind.is_one_class:
        features = collections.Counter(feature for ref in refs for feature in kind.features(ref.label, edges))
        return stratify.Signature(len(refs), tuple(sorted(features.items()))).text()
    counts = collections.Counter(ref.label for ref in refs)
    return min(counts, key=lambda label: (-counts[label], label))


def _straddling(refs: Iterable[Ref]) -> Iterator[Straddling]:
    """Yields the groups of the input that are in several of the stated splits."""
    members: dict[str, list[Ref]] = collections.defaultdict(list)
    for ref in refs:
        if ref.group:
            members[ref.group].append(ref)
    for group, of_group in members.items():
        given = _given(of_group)
        if len(given) > 1:
            yield Straddling(group, tuple(given), len(of_group))


class Placed(NamedTuple):
    """Holds a unit, and the split that it got.

    refs: the images that stay; those for which the input states no split have "", unless the unit is divided.
    rejected: those that --duplicates drops. given: the splits that the input states for the unit. split: that of
    images without one. is_divided: whether the unit is divided, so that all of its images have this split.
    """

    refs: list[Ref]
    rejected: list[Rejected]
    given: list[str]
    split: str
    is_divided: bool

    @property
    def in_split(self) -> list[Ref]:
        """Returns the images that stay, each with its split."""
        return [ref if ref.split else ref._replace(split=self.split) for ref in self.refs]


Cuts = Mapping[Key, list[tuple[int, str]]]


def placed(
    unit: str, everything: list[Ref], mode: str, seed: int, cut: Cuts, kind: Kind = ONE_CLASS, edges: Edges = ()
) -> Placed:
    """Decides the split of a unit.

    Args:
      everything: all images of the unit, sorted.
      mode: the value of --duplicates.
      cut: the cuts of each class that is divided.
    """
    refs, rejected = duplicates.separate(everything, mode)
    given = _given(refs)
    split = given[0] if given else ""  # "" is the value for a unit whose images were all dropped
    key = (split, unit_label(refs, kind, edges)) if refs else ("", "")
    is_kept = any(ref.kept for ref in refs)
    is_divided = bool(refs) and not is_kept and len(given) < 2 and (key in cut or not given)
    if is_divided:
        split = splits.split_of(hashing.position(seed, "split", unit), cut[key])
        refs = [ref._replace(split=split) for ref in refs]
    return Placed(refs, rejected, given, split, is_divided)


def assign_split(
    bucket: tuple[int, Iterable[bytes]],
    mode: str,
    seed: int,
    cut: Cuts,
    bits: int = 0,
    kind: Kind = ONE_CLASS,
    edges: Edges = (),
) -> Iterator[Any]:
    """Assigns a split to each unit; yields packed references with their split.

    A split that the input states stays, unless it is divided by --validation-from. Other images of the unit get the
    first stated split. A split that --like keeps counts as stated and is never divided. With --duplicates drop, dropped
    images go to the output "rejected" and do not influence the split of the others. Groups of equal images go to the
    output "duplicates", groups of images that look alike to "similar", and groups of the input that are in several of
    the stated splits to "straddling".

    Args:
      mode: the value of --duplicates.
      cut: the cuts of each class that is divided, and of the folds (see `fold_units.fold_ranks`).
      bits: the value of --group-similar.
      edges: as of `edges_of`.
    """
    assigned: list[Ref] = []
    for unit, everything in units_of(bucket):
        found = placed(unit, everything, mode, seed, cut, kind, edges)
        assigned += _with_folds(unit, found.in_split, seed, cut, kind, edges)
        for reject in found.rejected:
            counters.count_reject(reject)
            yield TaggedOutput("rejected", reject)
        if len(found.given) > 1:
            yield from (TaggedOutput("straddling", told) for told in _straddling(found.refs))
        if len(everything) > 1:
            split, own = found.split, found.is_divided
            members = [ref._replace(split=split if own else ref.split or split) for ref in everything]
            for equal in duplicates.groups(members):
                yield TaggedOutput("duplicates", duplicates.told(equal))
            yield from (TaggedOutput("similar", alike) for alike in similar.groups(members, bits) if bits)
    for start in range(0, len(assigned), BUCKET):  # a unit may be large, and would make a large element
        yield pack(assigned[start : start + BUCKET])


def _with_folds(unit: str, refs: list[Ref], seed: int, cut: Cuts, kind: Kind, edges: Edges) -> list[Ref]:
    """Returns the images of a unit, those of train with their folds."""
    pool = pool_of(refs)
    if not pool:
        return refs
    numbers = folds.of_unit(unit, unit_label(pool, kind, edges), seed, cut)
    return [ref._replace(folds=numbers) if ref.split == TRAIN_SPLIT else ref for ref in refs]


def pool_of(refs: Iterable[Ref]) -> list[Ref]:
    """Returns the images that are divided into folds."""
    return [ref for ref in refs if ref.split == TRAIN_SPLIT]
