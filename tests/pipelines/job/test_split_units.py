"""Images of equal content or of one group stay in one split, from their fingerprints to their split, without Beam."""

from __future__ import annotations

import collections
import random

import pytest

from pipelines.core import hashing
from pipelines.core.elements import Ref, Source, pack, unpack
from pipelines.core.summary import Kept, Straddling
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.job import split_units, stages
from pipelines.plan import splits
from pipelines.workers.pool import Outcome

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
            futures.append(Outcome())
            futures[-1].set_result(Ref(*source[:6], digest(int(source.key.split("-")[0])), 9))
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
        for e in split_units.assign_split(bucket, "keep", SEED, {("", label): cut for label, cut in CUTS.items()})
    ]
    return {ref.key: ref.split for ref in unpack(e for e in found if isinstance(e, bytes))}


@pytest.fixture
def sources(monkeypatch) -> list[Source]:
    """CONTENTS pictures, each EACH times, under another name and in another batch."""
    monkeypatch.setattr(split_units, "BUCKET", 10)  # many buckets
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
    ranks = [r for bucket in fingerprinted(sources).items() for r in split_units.unit_ranks(bucket, "keep", SEED)]

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
    bridges = [groups for bucket in by_content.items() for groups in split_units.bridges(bucket)]
    merged = splits.components(bridges)
    total = len(sources)
    by_group = grouped(e for bucket in by_content.items() for e in split_units.by_group(bucket, merged, total))

    found = split_of_each(by_group)

    assert len(bridges) == CONTENTS // 3
    assert found == {
        key: splits.split_of(hashing.position(SEED, "split", f"a-{int(key.split('-')[0]) // 3}"), CUTS["bee"])
        for key in found
    }
    assert len(found) == CONTENTS * EACH
    assert len(set(found.values())) > 1


def test_images_that_look_alike_have_one_split(sources):
    """Contents 3n to 3n + 2 have hashes that differ in 2 bits; group g-n holds content 3n + 2 and an image x."""
    hashes = [bytes([n, ~n & 255]) * 2 + bytes([7 << i]) + bytes(11) for n in range(CONTENTS // 3) for i in range(3)]
    refs = []
    for source in sources:
        content = int(source.key.split("-")[0])
        group = f"g-{content // 3}" if content % 3 == 2 else ""
        refs.append(Ref(*source._replace(group=group)[:6], digest(content), look=hashes[content]))
    refs += [ref(f"x-{n}", digest(1000 + n), "", f"g-{n}") for n in range(CONTENTS // 3)]
    by_content = grouped(split_units.in_buckets(((r.digest, r) for r in refs), len(refs)))
    hashed = [found for bucket in by_content.items() for found in split_units.looks(bucket)]
    merged = split_units.merged([], hashed, 2)
    by_group = grouped(e for bucket in by_content.items() for e in split_units.by_group(bucket, merged, len(refs)))

    found = split_of_each(by_group)

    assert len(found) == len(refs)
    for n in range(CONTENTS // 3):
        together = {found[f"{3 * n + i}-{copy}"] for i in range(3) for copy in range(EACH)} | {found[f"x-{n}"]}
        assert len(together) == 1
    assert set(found.values()) == {"train", "validation", "test"}
    assert split_units.merged([["a", "b"]], hashed, 0) == {"a": "a", "b": "a"}


def test_a_part_of_a_stated_split_becomes_validation():
    """Each unit of train falls by its hash; one that is in test, too, and all of test stay."""
    refs = [ref(f"{i}", digest(i), "train") for i in range(40)] + [ref("t", digest(99), "test")]
    refs += [ref("x", digest(98), "train"), ref("y", digest(98), "test")]
    ranks = list(split_units.unit_ranks((0, [pack((r.digest, r) for r in refs)]), "keep", SEED))
    assert sorted(key for key, _ in ranks) == [("test", "bee"), ("train", "bee")]
    wanted = split_units.carries({key: splits.profile_of(r) for key, r in ranks}, {"train": 1.0}, {"train": 0.25})
    assert list(wanted) == [("train", "bee")]
    cuts = dict(cut for ranked in ranks for cut in split_units.cuts(ranked, wanted))
    out = split_units.assign_split((0, [pack((r.digest, r) for r in refs)]), "keep", SEED, cuts)
    found = {r.key: r.split for element in out if isinstance(element, bytes) for r in unpack([element])}
    assert collections.Counter(found.values()) == {"train": 31, "validation": 10, "test": 2}
    assert (found["t"], found["x"], found["y"]) == ("test", "train", "test")


def test_groups_in_several_stated_splits_are_told():
    refs = [ref("1", digest(1), "train", "ann"), ref("2", digest(2), "test", "ann"), ref("3", digest(3), "test", "bob")]
    out = list(split_units.assign_split((0, [pack((r.group, r) for r in refs)]), "keep", SEED, {}))
    told = [element.value for element in out if not isinstance(element, bytes)]
    assert told == [Straddling("ann", ("train", "test"), 2)]


def earlier(uri: str, content: int, split: str) -> tuple[str, Ref]:
    return digest(content), Ref("", uri, "bee", split, "", 0.0, digest(content))


def test_images_of_the_earlier_dataset_keep_their_split():
    """Content 1 was in test, 2 in train and test, 3 is gone with its two images, and 4 is new."""
    now = [ref("a", digest(1), ""), ref("b", digest(1), "train"), ref("c", digest(2), "train")]
    now += [ref("d", digest(2), ""), ref("e", digest(4), "train"), ref("f", digest(4), "")]
    there = [earlier("o/1", 1, "test"), earlier("o/2", 2, "train"), earlier("o/3", 2, "test")]
    there += [earlier("o/4", 3, "train"), earlier("o/5", 3, "train")]
    packed = [pack(there), pack((r.digest, r) for r in now)]
    told, (number, kept) = split_units.keep_splits((7, packed))
    assert (told.tag, told.value) == ("like", Kept(kept=4, new=2, moved=1, gone=("o/4", "o/5")))
    assert number == 7
    assert {r.key: (unit == r.digest, r.split, r.kept) for unit, r in unpack(kept)} == {
        "a": (True, "test", True), "b": (True, "test", True), "c": (True, "train", True), "d": (True, "test", True),
        "e": (True, "train", False), "f": (True, "", False),
    }  # fmt: skip


def test_kept_units_are_not_divided_and_take_new_images_of_their_group_along():
    refs = [ref("old", digest(1), "test", "ann")._replace(kept=True), ref("new", digest(2), "", "ann")]
    refs += [ref("train", digest(3), "train")._replace(kept=True), ref("other", digest(4), "")]
    bucket = (0, [pack((r.group or r.digest, r) for r in refs)])
    ranks = dict(split_units.unit_ranks(bucket, "keep", SEED))
    assert {key: r.total for key, r in ranks.items()} == {("=test", "bee"): 2, ("=train", "bee"): 1, ("", "bee"): 1}
    profiles = {key: splits.profile_of(r) for key, r in ranks.items()}
    fractions = {"train": 0.5, "validation": 0.5}
    wanted = split_units.carries(profiles, fractions, {"train": 0.1}, continues=True)  # nothing new is stated as train
    assert set(wanted) == {("", "bee")}
    cuts = dict(cut for ranked in ranks.items() for cut in split_units.cuts(ranked, wanted))
    found = list(split_units.assign_split(bucket, "keep", SEED, cuts | {("train", "bee"): CUTS["bee"]}))
    assert {r.key: r.split for r in unpack(e for e in found if isinstance(e, bytes))} == {
        "old": "test", "new": "test", "train": "train", "other": "validation",
    }  # fmt: skip


def test_a_dataset_that_grows_by_single_images_keeps_its_shares():
    """Each step adds one image, which --like keeps from then on; without the rounding of before all would be train."""
    fractions = {"train": 0.8, "validation": 0.1, "test": 0.1}
    there = collections.Counter(train=8, validation=1, test=1)
    for number in range(90):
        refs = [ref(f"{split}{i}", digest(1000 * len(split) + i), split)._replace(kept=True)
                for split, count in there.items() for i in range(count)]  # fmt: skip
        bucket = (0, [pack((r.digest, r) for r in [*refs, ref("new", digest(10**6 + number), "")])])
        ranks = list(split_units.unit_ranks(bucket, "keep", SEED))
        wanted = split_units.carries({key: splits.profile_of(r) for key, r in ranks}, fractions, {}, continues=True)
        cuts = dict(cut for ranked in ranks for cut in split_units.cuts(ranked, wanted))
        found = unpack(e for e in split_units.assign_split(bucket, "keep", SEED, cuts) if isinstance(e, bytes))
        there.update(r.split for r in found if r.key == "new")
    assert there == {"train": 80, "validation": 10, "test": 10}


def test_stated_splits_that_are_far_from_the_shares_are_not_made_up_for():
    assert splits.rounding_of({"train": 60, "test": 40}, {"train": 0.8, "test": 0.2}) == (0.0, 0.0)
    assert splits.rounding_of({"train": 85, "test": 15}, {"train": 0.8, "dev": 0.0, "test": 0.2}) == (-5.0, 5.0)
    assert splits.rounding_of({}, {"train": 0.8, "test": 0.2}) == (0.0, 0.0)


def ref(key: str, content: str, split: str, group: str = "") -> Ref:
    return Ref(key, f"in/{key}", "bee", split, group, 1.0, content)
