"""Units of train are divided into folds: each stays whole, and each fold gets its share of what images count for."""

from __future__ import annotations

import collections
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.elements import Ref, pack, unpack
from pipelines.job import fold_units, split_units
from pipelines.plan import folds, splits
from pipelines.plan.folds import Division
from pipelines.plan.rank_histogram import RankHistogram
from pipelines.tasks.kinds import KINDS

SHARES = {"train": 0.8, "test": 0.2}
Pairs = list[tuple[str, Ref]]


def pairs_of(groups: dict[str, list[str]], given_split: str = "") -> Pairs:
    """(unit, Ref) of groups of images with these answers."""
    return [
        (group, Ref(f"{group}/{i}", "", text, given_split, group, 1.0, f"{group}{i}"))
        for group, texts in groups.items()
        for i, text in enumerate(texts)
    ]


def divided(pairs: Pairs, division: Division, kind_name: str = "classes", buckets: int = 1, seed: int = 0):
    """Key -> (split, folds), by the stages of the job in their order, with the units in so many buckets."""
    kind = KINDS[kind_name]
    in_buckets: dict[int, Pairs] = collections.defaultdict(list)
    for unit, ref in pairs:
        in_buckets[hash(unit) % buckets].append((unit, ref))
    packed = [(number, [pack(found)]) for number, found in in_buckets.items()]

    def merged(ranked) -> dict[split_units.Key, RankHistogram]:
        ranks: dict[split_units.Key, RankHistogram] = collections.defaultdict(RankHistogram)
        for key, histogram in ranked:
            ranks[key].merge(histogram)
        return ranks

    def profiles(ranks):
        return {key: splits.profile_of(r) for key, r in ranks.items()}

    values = merged(r for bucket in packed for r in split_units.value_ranks(bucket, kind)) if kind.has_numbers else {}
    edges = split_units.edges_of(values)
    ranks = merged(r for bucket in packed for r in split_units.unit_ranks(bucket, "keep", seed, kind, edges))
    wanted = (split_units.carries if kind.is_one_class else split_units.stratified)(profiles(ranks), SHARES, {})
    cuts = dict(cut for ranked in ranks.items() for cut in split_units.cuts(ranked, wanted))
    fold_ranks = merged(
        r for bucket in packed for r in fold_units.fold_ranks(bucket, "keep", seed, cuts, division.repeats, kind, edges)
    )
    shares = fold_units.fold_shares(profiles(fold_ranks), division, kind.is_one_class)
    cuts |= dict(cut for ranked in fold_ranks.items() for cut in split_units.cuts(ranked, shares))
    made = [e for bucket in packed for e in split_units.assign_split(bucket, "keep", seed, cuts, 0, kind, edges)]
    return {ref.key: (ref.split, ref.folds) for e in made if isinstance(e, bytes) for ref in unpack([e])}


def counted(found, pairs: Pairs, repeat: int = 0) -> dict[str, collections.Counter]:
    """Answer -> fold -> images."""
    labels = {ref.key: ref.label for _, ref in pairs}
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for key, (split, own) in found.items():
        if split == "train":
            counts[labels[key]][own[repeat]] += 1
    return counts


def test_each_fold_gets_its_share_of_each_class_and_test_none():
    pairs = pairs_of({f"{label}{i}": [label] for label, n in (("ant", 500), ("bee", 50), ("cat", 7)) for i in range(n)})
    found = divided(pairs, Division(5, 1))

    assert all(own == () for split, own in found.values() if split == "test")
    counts = counted(found, pairs)
    assert {label: sum(of.values()) for label, of in counts.items()} == {"ant": 400, "bee": 40, "cat": 6}
    assert sorted(counts["ant"].values()) == [80] * 5
    assert sorted(counts["bee"].values()) == [8] * 5
    assert sorted(counts["cat"].values()) == [1, 1, 1, 1, 2]


def test_the_folds_change_neither_the_splits_nor_one_repeat_the_other():
    pairs = pairs_of({f"u{i}": [("ant", "bee")[i % 2]] for i in range(200)})
    without, once, twice = (divided(pairs, Division(5, repeats)) for repeats in (0, 1, 2))

    assert {key: split for key, (split, _) in without.items()} == {key: split for key, (split, _) in once.items()}
    assert {own for _, own in without.values()} == {()}
    train = [key for key, (split, _) in twice.items() if split == "train"]
    assert [twice[key][1][:1] for key in train] == [once[key][1] for key in train]
    assert [twice[key][1][0] for key in train] != [twice[key][1][1] for key in train]
    assert sorted(counted(twice, pairs, 1)["ant"].values()) == [16] * 5


def test_images_of_a_stated_train_split_are_divided_and_those_of_other_splits_are_not():
    own = pairs_of({f"t{i}": ["ant"] for i in range(10)}, "train")
    other = pairs_of({f"v{i}": ["ant"] for i in range(10)}, "validation")
    found = divided(own + other, Division(2, 1))

    assert collections.Counter(found.values()) == {("train", (0,)): 5, ("train", (1,)): 5, ("validation", ()): 10}


ANSWERS = {
    "classes": st.sampled_from(["ant", "bee", "cat"]),
    "multi-label": st.sampled_from(["|", "ant", "ant|bee", "bee", "cat"]),
    "regression": st.integers(0, 9).map(str),
}


def test_ties_of_numbers_do_not_depend_on_the_order_of_arrival():
    groups = ["2", "2", "000", "0001", "2233", "2233", "4", "01"]
    pairs = pairs_of({f"g{i}": list(found) for i, found in enumerate(groups)})
    division = Division(2, 2)
    found = divided(pairs, division, "regression")
    for order in range(30):
        mixed = random.Random(order).sample(pairs, len(pairs))
        for buckets in range(1, 6):
            assert divided(mixed, division, "regression", buckets) == found


@pytest.mark.parametrize("kind", ANSWERS)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), count=st.integers(2, 6), buckets=st.integers(2, 7))
def test_groups_stay_whole_whatever_the_order_and_the_buckets(kind, data, count, buckets):
    texts = data.draw(st.lists(st.lists(ANSWERS[kind], min_size=1, max_size=4), min_size=3, max_size=40))
    pairs = pairs_of({f"g{i}": found for i, found in enumerate(texts)})
    division = Division(count, 2)
    found = divided(pairs, division, kind)

    assert divided(random.Random(1).sample(pairs, len(pairs)), division, kind, buckets) == found
    of_groups = collections.defaultdict(set)
    for key, where in found.items():
        of_groups[key.split("/")[0]].add(where)
        assert where[0] == "test" or (len(where[1]) == 2 and all(0 <= fold < count for fold in where[1]))
    assert all(len(where) == 1 for where in of_groups.values())


def test_labels_and_quantiles_are_divided_too():
    labels = ["ant", "ant|bee", "bee", "|"]
    several = pairs_of({f"u{i}": [labels[i % 4]] for i in range(400)})
    counts = counted(divided(several, Division(4, 1), "multi-label"), several)
    of_labels = {
        name: sum((of for text, of in counts.items() if name in text), collections.Counter()) for name in ("ant", "bee")
    }
    assert all(max(of.values()) - min(of.values()) <= 2 for of in of_labels.values()), of_labels

    numbers = pairs_of({f"u{i}": [str(i)] for i in range(500)})
    found = divided(numbers, Division(5, 1), "regression")
    tenths = collections.defaultdict(collections.Counter)
    for key, (split, own) in found.items():
        if split == "train":
            tenths[int(key[1:].split("/")[0]) // 50][own[0]] += 1
    assert all(max(of.values()) - min(of.values()) <= 2 and len(of) == 5 for of in tenths.values()), tenths


def test_the_key_of_folds_is_that_of_no_split():
    assert folds.key(3, "ant") == ("#3", "ant")
    assert folds.of_unit("u", "ant", 0, {("", "ant"): [(1 << 64, "train")]}) == ()
