"""What --duplicates does with equal images: on units made by hand, and in whole runs over photographs."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import pathlib
import shutil

import pytest

from pipelines.config import PrepareConfig
from pipelines.core import errors
from pipelines.core.elements import Ref, pack, unpack
from pipelines.core.errors import ConfigError
from pipelines.core.hashing import POSITIONS
from pipelines.core.summary import Duplicates
from pipelines.dataset import verify
from pipelines.job import prepare, split_units
from pipelines.plan import duplicates, splits
from tests.support.files.images import draw_photo


def config(mode: str) -> PrepareConfig:
    return PrepareConfig(input="in", output="out", duplicates=mode)


def ref(key: str, content: str, split: str = "") -> Ref:
    """An image of the class that its first folder names."""
    return Ref(key, f"/in/{key}", key.split("/")[0], split, "", 1.0, content * 64)


UNIT = [
    ref("bee/2", "1"),
    ref("bee/1", "1"),
    ref("cat/3", "2"),
    ref("bee/4", "2"),
    ref("bee/5", "2"),
    ref("cat/6", "3"),
]


@pytest.mark.parametrize("order", itertools.islice(itertools.permutations(UNIT), 0, 720, 71))
def test_the_first_by_key_stays_and_no_conflict_does(order):
    kept, rejected = duplicates.separate(order, "drop")

    assert [r.key for r in kept] == ["bee/1", "cat/6"]
    assert [(r.uri, r.reason, r.detail) for r in rejected] == [
        ("/in/bee/2", "duplicate", "Equal to /in/bee/1, which is kept."),
        *(
            (uri, "conflicting-labels", "The same picture has the labels bee, cat: at least one label is wrong.")
            for uri in ("/in/bee/4", "/in/bee/5", "/in/cat/3")
        ),
    ]
    assert {(r.stage, r.digest) for r in rejected} == {("duplicates", "1" * 64), ("duplicates", "2" * 64)}


def test_a_picture_under_many_long_labels_has_a_short_reason():
    unit = [ref(f"{i:04d}{'x' * 4000}/{i}", "1") for i in range(1000)]

    _, rejected = duplicates.separate(unit, "drop")

    assert len(rejected) == 1000
    assert {len(r.detail) for r in rejected} == {len(rejected[0].detail)}
    assert len(rejected[0].detail) < 600
    assert rejected[0].detail.endswith("… and 995 more: at least one label is wrong.")
    _, [equal] = duplicates.separate([ref("bee/" + "x" * 5000, "1"), ref("bee/y", "1")], "drop")
    assert equal.detail.endswith("…, which is kept.")
    with pytest.raises(errors.DuplicatesError) as raised:
        duplicates.refuse(duplicates.First().add_input(duplicates.Found(), duplicates.told(unit)))
    assert len(str(raised.value)) < 3000


@pytest.mark.parametrize("mode", ["keep", "fail"])
def test_otherwise_all_stay(mode):
    assert duplicates.separate(UNIT, mode) == (sorted(UNIT), [])


def bucket(refs: list[Ref]) -> tuple[int, list[bytes]]:
    """One bucket of units that equal content makes."""
    return 0, [pack((r.digest, r) for r in refs)]


def test_what_is_dropped_weighs_nothing_in_the_splits():
    ((key, ranks),) = split_units.unit_ranks(bucket(UNIT[:2]), "drop", 0)
    assert (key, ranks.total) == (("", "bee"), 1)
    assert list(split_units.unit_ranks(bucket(UNIT[2:5]), "drop", 0)) == []


def of_units(packed) -> dict[str, str]:
    """Key -> unit, of what `by_group` yields."""
    return {r.key: unit for _, pairs in packed for unit, r in unpack([pairs])}


def test_a_unit_is_an_equal_content_or_a_group_or_groups_that_share_an_image():
    """Two equal images; two of group g; one of group h that equals one of g; one alone."""
    g, h = (r._replace(group=name) for name, r in (("g", ref("bee/3", "2")), ("h", ref("bee/4", "2"))))
    refs = [ref("bee/1", "1"), ref("bee/2", "1"), g, ref("bee/5", "3")._replace(group="g"), h, ref("bee/6", "4")]
    joined = list(split_units.bridges(bucket(refs)))
    assert joined == [["g", "h"]]
    found = of_units(split_units.by_group(bucket(refs), splits.components(joined), len(refs)))
    assert found == {
        "bee/1": "1" * 64, "bee/2": "1" * 64, "bee/3": "g", "bee/4": "g", "bee/5": "g", "bee/6": "4" * 64,
    }  # fmt: skip


def test_a_unit_weighs_as_many_as_its_images():
    ((key, ranks),) = split_units.unit_ranks(bucket(UNIT[:2]), "keep", 0)
    assert (key, [weight for _, weight in ranks.ordered()]) == (("", "bee"), [2])


def placed(refs: list[Ref], cuts: dict[str, list[tuple[int, str]]], mode: str = "drop") -> tuple[dict, dict]:
    """(key -> split of those that stay, tag -> elements) of one unit."""
    by_key = {("", label): cut for label, cut in cuts.items()}
    out = list(split_units.assign_split(bucket(refs), mode, 0, by_key))
    aside = collections.defaultdict(list)
    for element in out:
        if not isinstance(element, bytes):
            aside[element.tag].append(element.value)
    return {r.key: r.split for r in unpack(e for e in out if isinstance(e, bytes))}, aside


def test_a_unit_of_which_nothing_stays_needs_no_cut():
    kept, aside = placed(UNIT[2:5], {})
    assert kept == {}
    assert len(aside["rejected"]) == 3
    members = (("/in/bee/4", "bee", ""), ("/in/bee/5", "bee", ""), ("/in/cat/3", "cat", ""))
    assert aside["duplicates"] == [Duplicates("2" * 64, members)]


def test_of_many_equal_images_some_are_named_and_the_others_counted():
    equal = [ref(f"bee/{i:03d}", "7") for i in range(duplicates.MOST_MEMBERS + 20)]
    told = duplicates.told(equal)
    assert [uri for uri, _, _ in told.members] == [r.uri for r in equal[:-20]]
    assert (told.more, told.conflicting, told.straddling) == (20, False, False)
    assert duplicates.told(equal[:-20]) == Duplicates(equal[0].digest, told.members, 0)

    odd = [*equal, ref("cat/0", "7", "test")]  # the last: it is named, since it is the only one of its kind
    told = duplicates.told(odd)
    assert [uri for uri, _, _ in told.members] == [r.uri for r in [*equal[:-21], odd[-1]]]
    assert (told.more, told.conflicting, told.straddling) == (21, True, True)


def test_a_large_unit_travels_in_parts_and_stays_in_one_split():
    equal = [ref(f"bee/{i:04d}", "7") for i in range(2 * split_units.BUCKET + 1)]
    out = list(split_units.assign_split(bucket(equal), "keep", 0, {("", "bee"): [(POSITIONS, "train")]}))
    parts = [list(unpack([element])) for element in out if isinstance(element, bytes)]
    assert [len(part) for part in parts] == [split_units.BUCKET, split_units.BUCKET, 1]
    assert [(r.key, r.split) for part in parts for r in part] == [(r.key, "train") for r in equal]


@pytest.mark.parametrize(
    ("labels", "expected"), [(["b", "a", "b"], "b"), (["b", "a"], "a"), (["a", "c", "b", "c", "b"], "b"), (["z"], "z")]
)
def test_a_unit_counts_for_its_most_frequent_label_and_of_equals_for_the_first(labels, expected):
    assert split_units.unit_label([ref(f"{label}/{i}", str(i)) for i, label in enumerate(labels)]) == expected


def test_the_one_that_stays_takes_its_own_split_along():
    cuts = {"bee": [(POSITIONS, "train")]}
    assert placed(UNIT[:2], cuts)[0] == {"bee/1": "train"}
    assert placed([ref("bee/1", "1", "test"), ref("bee/2", "1", "train")], {})[0] == {"bee/1": "test"}
    assert placed([ref("bee/1", "1"), ref("bee/2", "1", "train")], cuts)[0] == {"bee/1": "train"}
    assert placed(UNIT[:2], cuts, "keep")[0] == {"bee/1": "train", "bee/2": "train"}


def test_the_first_groups_are_the_same_however_they_are_merged():
    found = [Duplicates(str(i), (("a", "x", ""), ("b", "y" if i % 3 == 0 else "x", ""))) for i in range(9)]
    first = duplicates.First()
    results = set()
    for order in itertools.islice(itertools.permutations(found), 0, 50_000, 4_999):
        parts = [first.create_accumulator() for _ in range(3)]
        for i, element in enumerate(order):
            parts[i % 3] = first.add_input(parts[i % 3], element)
        results.add(first.extract_output(first.merge_accumulators(iter(parts))))
    (only,) = results
    assert (only.groups, only.conflicting, [d.digest for d in only.first]) == (9, 3, ["0", "3", "6"])


def test_refusing():
    assert duplicates.refuse(duplicates.Found()) is None
    with pytest.raises(errors.DuplicatesError, match=r"1 pictures .* 1 of them .* First: a \(x\) = b \(y\)\. Remove"):
        duplicates.refuse(duplicates.Found(1, 1, (Duplicates("0", (("a", "x", ""), ("b", "y", ""))),)))


def test_only_dropping_changes_what_a_resumed_run_may_use():
    assert config("keep").digest() == config("fail").digest() != config("drop").digest()
    with pytest.raises(ConfigError, match=r"--duplicates should be one of keep, drop, fail\. Received: 'some'"):
        config("some")


@pytest.mark.slow
def test_dropping_in_a_whole_run(photos, prepared, tmp_path):
    """Drawn photographs: one bee is also an ant and there twice, and two cats are equal."""
    kept = prepared[1].contract
    out = tmp_path / "insects"
    result = prepare.prepare(
        dataclasses.replace(prepared[2], output=str(out), duplicates="drop", balance="none", max_reject_rate=0.03)
    )
    c, s = result.contract, result.summary
    assert s.rejected == c.rejected == {"conflicting-labels": 3, "duplicate": 1, "not-an-image": 1}
    assert s.read == 41 == sum(sum(split.natural.values()) for split in c.splits.values()) + 5
    totals = collections.Counter()
    for split in c.splits.values():
        totals.update(split.natural)
    assert totals == {"ant": 26, "bee": 6, "cat": 4}
    rows = [json.loads(line) for line in (out / "rejects/rejected.jsonl").read_text().splitlines()]
    assert sorted((pathlib.Path(r["uri"]).name, r["reason"]) for r in rows) == [
        ("00.jpg", "conflicting-labels"),
        ("again.jpg", "conflicting-labels"),
        ("notes.jpg", "not-an-image"),
        ("of-a-bee.jpg", "conflicting-labels"),
        ("twin.jpg", "duplicate"),
    ]
    assert (s.duplicate_groups, s.conflicting_groups, s.straddling_groups) == (2, 1, 0)
    assert any("None of them is kept." in w for w in s.warnings)
    assert "One of each group was kept" in (out / "report.html").read_text()
    assert verify.verify(str(out)) == []
    digests = [json.loads(line)["digest"] for f in (out / "ledger").iterdir() for line in f.read_text().splitlines()]
    assert len(digests) == len(set(digests)) == 36
    assert kept.config_digest != c.config_digest


@pytest.mark.slow
def test_failing_in_a_whole_run_decodes_and_publishes_nothing(prepared, tmp_path):
    out = tmp_path / "insects"
    with pytest.raises(Exception, match=r"--duplicates fail: 2 pictures .*, 1 of them") as raised:
        prepare.prepare(dataclasses.replace(prepared[2], output=str(out), duplicates="fail"))
    assert "of-a-bee.jpg (ant) = " in str(raised.value)
    assert sorted(p.name for p in out.iterdir()) == [".shardmill"]
    assert not (out / ".shardmill/staged").exists()


@pytest.mark.slow
def test_no_equal_images_do_not_fail(tmp_path):
    for i in range(20):
        draw_photo(tmp_path / f"in/{'ab'[i % 2]}/{i}.png", i, (8, 8))
    result = prepare.prepare(
        PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "o"), size=(8, 8), duplicates="fail")
    )
    assert result.summary.duplicate_groups == 0


@pytest.mark.slow
def test_equal_images_of_two_groups_and_two_splits_in_a_manifest(tmp_path):
    """Dropping goes by content, also where a manifest puts equal images into groups or splits of their own."""
    for i in range(12):
        draw_photo(tmp_path / f"{i}.png", i, (8, 8))
    shutil.copy(tmp_path / "0.png", tmp_path / "0-again.png")
    rows = [f"{i}.png,{'ab'[i % 2]},{'test' if i > 8 else 'train'},g{i // 2}" for i in range(12)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split,group", *rows, "0-again.png,a,test,g5"]))
    result = prepare.prepare(
        PrepareConfig(input=str(tmp_path / "m.csv"), output=str(tmp_path / "o"), size=(8, 8), duplicates="drop")
    )
    assert result.summary.rejected == {"duplicate": 1}
    assert result.summary.rejects[0].uri == f"{tmp_path}/0.png"  # "0-again.png" comes first by key
    assert {n: sum(s.natural.values()) for n, s in result.contract.splits.items()} == {"test": 4, "train": 8}
    assert [w for w in result.summary.warnings if "(leakage)" in w] == [
        "1 group of images is in more than one of the given splits, so the splits are not independent (leakage). The "
        "first is 'g4', 2 images in train, test."
    ]


@pytest.mark.slow
def test_real_photographs_under_two_labels(real_data, tmp_path):
    """Three pairs of equal files under two labels, of which nothing is kept."""
    paired = {"metal91", "glass115", "plastic152", "glass176", "plastic332", "glass389"}
    found = {c: sorted(p.stem for p in (real_data / "trashnet" / c).iterdir()) for c in ("metal", "glass", "plastic")}
    others = [f"{c}/{name}" for c, stems in found.items() for name in [n for n in stems if n not in paired][:3]]
    names = [
        "metal/metal91",
        "glass/glass115",
        "plastic/plastic152",
        "glass/glass176",
        "plastic/plastic332",
        "glass/glass389",
        *others,
    ]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / "trashnet" / f"{name}.jpg", tmp_path / "in" / f"{name}.jpg")
    result = prepare.prepare(
        PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "o"), size=(8, 8), duplicates="drop")
    )
    assert result.summary.rejected == {"conflicting-labels": 6}
    assert {pathlib.Path(r.uri).stem for r in result.summary.rejects} == paired
    assert sum(sum(s.natural.values()) for s in result.contract.splits.values()) == 9
