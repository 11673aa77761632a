"""Images of equal content or of one group stay in one split, from their fingerprints to their split, without Beam."""

from __future__ import annotations

import collections
import concurrent.futures
import random

import pytest

from pipelines.core import hashing
from pipelines.core.elements import Ref, Source, pack, unpack
from pipelines.core.summary import Straddling
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.job import stages, units
from pipelines.plan import splits

CONTENTS, EACH, SEED = 60, 5, 3
CUTS = {
    label: [(hashing.POSITIONS // 2, "train"), (hashing.POSITIONS // 4 * 3, "validation"), (hashing.POSITIONS, "test")]
    for label in ("bee", "cat")
}


class Workers:
    """Answers as workers do that have read the files: the content of `in/3-17` is number 3."""

    def submit(self, _task, _shared, items, *_):
        futures = []
        for (source,) in items:
            futures.append(concurrent.futures.Future())
            futures[-1].set_result(Ref(*source, digest(int(source.key.split("-")[0])), 9))
        return futures


def digest(content: int) -> str:
    return f"{content:064x}"


def fingerprinted(sources: list[Source]) -> dict[int, list[bytes]]:
    """What Beam groups of these sources, which come in batches of seven: bucket -> packed (unit, Ref)."""
    stage = stages.Fingerprint(Workers, Limits(), SourcePolicy())
    stage._workers = Workers()
    return grouped(
        element
        for start in range(0, len(sources), 7)
        for element in stage.process((7, pack(sources[start : start + 7])), len(sources))
    )


def grouped(elements) -> dict[int, list[bytes]]:
    buckets = collections.defaultdict(list)
    for bucket, packed in elements:
        buckets[bucket].append(packed)
    return buckets


def split_of_each(buckets: dict[int, list[bytes]]) -> dict[str, str]:
    """Key -> split."""
    found = [
        e
        for bucket in buckets.items()
        for e in units.assign_split(bucket, "keep", SEED, {("", label): cut for label, cut in CUTS.items()})
    ]
    return {ref.key: ref.split for ref in unpack(e for e in found if isinstance(e, bytes))}


@pytest.fixture
def sources(monkeypatch) -> list[Source]:
    """CONTENTS pictures, each EACH times, under another name and in another batch."""
    monkeypatch.setattr(units, "BUCKET", 10)  # many buckets
    keys = [f"{content}-{copy}" for content in range(CONTENTS) for copy in range(EACH)]
    random.Random(1).shuffle(keys)
    return [Source(key, f"in/{key}", "bee", "", "", 1.0) for key in keys]


def test_equal_images_have_the_split_of_their_content(sources):
    found = split_of_each(fingerprinted(sources))

    assert len(found) == CONTENTS * EACH
    assert found == {
        key: splits.split_of(hashing.position(SEED, "split", digest(int(key.split("-")[0]))), CUTS["bee"])
        for key in found
    }
    assert set(found.values()) == {"train", "validation", "test"}


def test_equal_images_are_ranked_as_one_that_weighs_as_much_as_all(sources):
    ranks = [r for bucket in fingerprinted(sources).items() for r in units.unit_ranks(bucket, "keep", SEED)]

    ordered = sorted(position for _, histogram in ranks for position in histogram.ordered())
    assert {key for key, _ in ranks} == {("", "bee")}
    assert [weight for _, weight in ordered] == [EACH] * CONTENTS


def test_groups_that_equal_content_connects_have_one_split(sources):
    """Content 3n is in groups a-n and b-n: these two are one unit, with content 3n + 1 (in a-n) and 3n + 2 (in b-n)."""
    in_groups = []
    for source in sources:
        content, copy = map(int, source.key.split("-"))
        group = f"{'a' if content % 3 == 1 or (content % 3 == 0 and copy < 2) else 'b'}-{content // 3}"
        in_groups.append(source._replace(group=group))
    by_content = fingerprinted(in_groups)
    bridges = [groups for bucket in by_content.items() for groups in units.bridges(bucket)]
    merged = splits.components(bridges)
    total = len(sources)
    by_group = grouped(e for bucket in by_content.items() for e in units.by_group(bucket, merged, total))

    found = split_of_each(by_group)

    assert len(bridges) == CONTENTS // 3
    assert found == {
        key: splits.split_of(hashing.position(SEED, "split", f"a-{int(key.split('-')[0]) // 3}"), CUTS["bee"])
        for key in found
    }
    assert len(found) == CONTENTS * EACH
    assert len(set(found.values())) > 1


def test_a_part_of_a_stated_split_becomes_validation():
    """Each unit of train falls by its hash; one that is in test, too, and all of test stay."""
    refs = [ref(f"{i}", digest(i), "train") for i in range(40)] + [ref("t", digest(99), "test")]
    refs += [ref("x", digest(98), "train"), ref("y", digest(98), "test")]
    ranks = list(units.unit_ranks((0, [pack((r.digest, r) for r in refs)]), "keep", SEED))
    assert sorted(key for key, _ in ranks) == [("test", "bee"), ("train", "bee")]
    wanted = units.carries({key: splits.profile_of(r) for key, r in ranks}, {"train": 1.0}, {"train": 0.25})
    assert list(wanted) == [("train", "bee")]
    cuts = dict(cut for ranked in ranks for cut in units.cuts(ranked, wanted))
    out = units.assign_split((0, [pack((r.digest, r) for r in refs)]), "keep", SEED, cuts)
    found = {r.key: r.split for element in out if isinstance(element, bytes) for r in unpack([element])}
    assert collections.Counter(found.values()) == {"train": 31, "validation": 10, "test": 2}
    assert (found["t"], found["x"], found["y"]) == ("test", "train", "test")


def test_groups_in_several_stated_splits_are_told():
    refs = [ref("1", digest(1), "train", "ann"), ref("2", digest(2), "test", "ann"), ref("3", digest(3), "test", "bob")]
    out = list(units.assign_split((0, [pack((r.group, r) for r in refs)]), "keep", SEED, {}))
    told = [element.value for element in out if not isinstance(element, bytes)]
    assert told == [Straddling("ann", ("train", "test"), 2)]


def ref(key: str, content: str, split: str, group: str = "") -> Ref:
    return Ref(key, f"in/{key}", "bee", split, group, 1.0, content)
