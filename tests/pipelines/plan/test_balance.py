"""Ranks, cuts and copies against what a person, or a brute-force search, finds."""

from __future__ import annotations

import collections
import itertools
import random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import PrepareConfig
from pipelines.core import errors
from pipelines.core.errors import SourceError
from pipelines.core.hashing import POSITIONS
from pipelines.plan import balance, rank_histogram, splits
from pipelines.plan.balance import Copies
from pipelines.plan.rank_histogram import RankHistogram

positions = st.integers(0, POSITIONS - 1)


def histogram_of(items) -> RankHistogram:
    histogram = RankHistogram()
    for position in items:
        histogram.add(position)
    return histogram


def balance_of(**options) -> balance.Balance:
    return PrepareConfig(input="in", output="out", **options).class_balance


def test_a_small_histogram_is_merged_in_place_and_not_by_a_copy_of_the_large_one():
    """A class of a million images is merged from a thousand parts: each may cost its own size only."""
    with mock.patch.object(rank_histogram, "MAX_BINS", 8):
        large = histogram_of(range(0, 64, 4))
        bins = large.bins
        large.merge(histogram_of([1, 9]))
        large.merge(RankHistogram())
    assert large.bins is bins
    assert (large.level, large.ordered()) == (3, [(0, 3), (8, 3), *((start, 2) for start in range(16, 64, 8))])


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.one_of(positions, st.integers(0, 99)), st.integers(1, 5)), max_size=40),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_any_order_of_adds_and_merges_ends_in_the_same_histogram(items, parts, rng: random.Random):
    with mock.patch.object(rank_histogram, "MAX_BINS", 8):
        whole = RankHistogram()
        for item in items:
            whole.add(*item)
        shuffled = rng.sample(items, len(items))
        pieces = []
        for i in range(parts):
            piece = RankHistogram()
            for item in shuffled[i::parts]:
                piece.add(*item)
            pieces.append(piece)
        merged = RankHistogram()
        for piece in pieces:
            merged.merge(piece)

        assert (merged.level, merged.bins) == (whole.level, whole.bins)
        assert len(whole.bins) <= 8
        assert whole.total == sum(weight for _, weight in items)
        expected = collections.Counter()
        for position, weight in items:
            expected[position >> whole.level << whole.level] += weight
        assert whole.ordered() == sorted(expected.items())
        # The level is the least that is enough.
        assert not whole.level or len({p >> (whole.level - 1) for p, _ in items}) > 8


@given(st.sets(positions, min_size=1, max_size=60), st.data())
def test_the_threshold_is_exact_while_bins_are_single(items, data):
    count = data.draw(st.integers(0, len(items)))

    threshold = histogram_of(items).threshold(count)

    assert sum(p < threshold for p in items) == count


@settings(max_examples=200)
@given(st.sets(positions, min_size=1, max_size=200), st.data())
def test_the_threshold_is_the_nearest_edge_where_bins_are_merged(items, data):
    count = data.draw(st.integers(0, len(items)))
    with mock.patch.object(rank_histogram, "MAX_BINS", 16):
        histogram = histogram_of(items)
        threshold = histogram.threshold(count)

    edges = [0, *itertools.accumulate(weight for _, weight in histogram.ordered())]
    below = sum(p < threshold for p in items)
    assert abs(below - count) == min(abs(edge - count) for edge in edges)


def test_thresholds_of_three_items():
    histogram = histogram_of([10, 20, 30])

    assert [histogram.threshold(n) for n in range(4)] == [10, 20, 30, POSITIONS]


SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def alone(fractions) -> splits.Carry:
    """How a class is cut that has no others beside it."""
    return splits.Carry(fractions, (0.0,) * sum(share > 0 for share in fractions.values()))


def sizes(items, cuts) -> dict[str, int]:
    return collections.Counter(splits.split_of(p, cuts) for p in items)


@settings(max_examples=300)
@given(
    st.sets(positions, min_size=1, max_size=60),
    st.lists(st.integers(0, 10), min_size=1, max_size=4).filter(sum),
)
def test_splits_get_their_share_to_within_one_item(items, weights):
    fractions = {f"s{i}": w / sum(weights) for i, w in enumerate(weights)}
    names = [name for name, share in fractions.items() if share > 0]

    cuts = splits.split_cuts(histogram_of(items), alone(fractions))
    found = sizes(items, cuts)

    assert [name for _, name in cuts] == names
    assert [edge for edge, _ in cuts] == sorted(edge for edge, _ in cuts)
    assert cuts[-1][0] == POSITIONS
    assert sum(found.values()) == len(items)
    n = len(items)
    ends = [round_half_up(n * share) for share in itertools.accumulate(fractions[name] for name in names[:-1])]
    rounded = [b - a for a, b in itertools.pairwise([0, *ends, n])]
    if n < len(names) or min(rounded) > 0:
        assert [found[name] for name in names] == rounded
        assert all(abs(found[name] - n * fractions[name]) < 1 + 1e-9 for name in names)
    else:  # to give every split one, others give way by no more than there are splits
        assert min(found[name] for name in names) >= 1
        assert all(abs(found[name] - n * fractions[name]) < len(names) for name in names)


def round_half_up(value: float) -> int:
    whole = int(value)  # value + 0.5 would itself be rounded: up, just below a half
    return whole + (value - whole >= 0.5)


@given(st.dictionaries(positions, st.integers(1, 30), min_size=2, max_size=20), st.floats(0.01, 0.99))
def test_a_cut_between_groups_is_the_best_there_is(groups, share):
    histogram = RankHistogram()
    for item in groups.items():
        histogram.add(*item)

    cuts = splits.split_cuts(histogram, alone({"train": share, "test": 1 - share}))
    train = sum(weight for position, weight in groups.items() if splits.split_of(position, cuts) == "train")

    target = share * histogram.total
    possible = list(itertools.accumulate(groups[p] for p in sorted(groups)))[:-1]  # each side gets a group
    assert abs(train - target) == pytest.approx(min(abs(p - target) for p in possible))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (1, 0, 0)),
        (2, (2, 0, 0)),
        (3, (1, 1, 1)),
        (5, (3, 1, 1)),
        (10, (8, 1, 1)),
        (25, (20, 3, 2)),
        (26, (21, 2, 3)),
    ],
)
def test_no_class_is_missing_from_a_split_if_it_has_three_images(count, expected):
    items = [i * (POSITIONS // 100) for i in range(count)]

    found = sizes(items, splits.split_cuts(histogram_of(items), alone(SPLITS)))

    assert tuple(found[name] for name in SPLITS) == expected


def sizes_of_all(classes: dict[str, list[int]], fractions) -> dict[str, dict[str, int]]:
    """label -> split -> images, of classes of units with these weights."""
    ranks = {}
    for label, weights in classes.items():
        ranks[label] = RankHistogram()
        for i, weight in enumerate(weights):
            ranks[label].add(i * (POSITIONS // 1000), weight)
    made = splits.carried({label: splits.profile_of(r) for label, r in ranks.items()}, fractions)
    found = {}
    for label, weights in classes.items():
        cuts = splits.split_cuts(ranks[label], made[label])
        found[label] = dict.fromkeys(fractions, 0)
        for i, weight in enumerate(weights):
            found[label][splits.split_of(i * (POSITIONS // 1000), cuts)] += weight
    return found


@pytest.mark.parametrize(
    ("classes", "images", "expected"),
    [
        (2000, 2, (3200, 400, 400)),  # no class could give a tenth
        (2000, 1, (1600, 200, 200)),
        (1000, 7, (5600, 700, 700)),
        (10, 26, (208, 26, 26)),
        (3, 10, (24, 3, 3)),
    ],
)
def test_shares_hold_for_the_splits_as_a_whole(classes, images, expected):
    found = sizes_of_all({f"{i:04}": [1] * images for i in range(classes)}, SPLITS)
    whole = [sum(sizes[name] for sizes in found.values()) for name in SPLITS]
    assert whole == pytest.approx(expected, abs=MOST_EXTRA_OF_SEVENS if images == 7 else 1)
    assert all(abs(sizes[name] - images * SPLITS[name]) < 2 for sizes in found.values() for name in SPLITS)


# Classes of seven get one image into each split, though their tenth is 0.7: as long as a split grows by 2 % or 10.
MOST_EXTRA_OF_SEVENS = 30


def test_a_few_small_classes_get_one_image_into_each_split():
    found = sizes_of_all({"ant": [1] * 3, "bee": [1] * 5, "cat": [1] * 50}, SPLITS)
    assert found["ant"] == {"train": 1, "validation": 1, "test": 1}
    assert found["bee"] == {"train": 3, "validation": 1, "test": 1}
    assert found["cat"] == {"train": 42, "validation": 4, "test": 4}  # which gives back what they took
    assert {name: sum(sizes[name] for sizes in found.values()) for name in SPLITS} == {
        "train": 46, "validation": 6, "test": 6,
    }  # fmt: skip


@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=90), min_size=1, max_size=30),
    st.sampled_from([SPLITS, {"train": 0.5, "test": 0.5}, {"train": 0.7, "validation": 0.0, "test": 0.3}]),
)
def test_groups_of_a_few_images_keep_the_shares_too(classes, fractions):
    found = sizes_of_all({f"{i:02}": weights for i, weights in enumerate(classes)}, fractions)
    everything = sum(map(sum, classes))
    assert sum(sum(sizes.values()) for sizes in found.values()) == everything
    for name, share in fractions.items():
        size = sum(sizes[name] for sizes in found.values())
        most = splits.MOST_EXTRA + splits.MOST_EXTRA_SHARE * everything + 8
        assert abs(size - share * everything) <= most * (2 if name == "train" else 1)  # which gives to both others
        assert share or not size


def test_a_given_split_is_not_mixed_with_drawn_images():
    shares = splits.shares_by_given({"", "test"}, SPLITS, {})
    assert shares == {"": {"train": pytest.approx(0.8 / 0.9), "validation": pytest.approx(0.1 / 0.9)}}
    assert splits.shares_by_given({""}, SPLITS, {}) == {"": SPLITS}
    assert splits.shares_by_given({"", "train"}, SPLITS, {})[""] == pytest.approx(SPLITS)
    assert splits.shares_by_given({"train", "test"}, SPLITS, {"train": 0.25}) == {
        "train": {"train": 0.75, "validation": 0.25}, "": {"train": 1.0},
    }  # fmt: skip
    with pytest.raises(SourceError, match=r"the input states no such split\. It states: test"):
        splits.shares_by_given({"test"}, SPLITS, {"train": 0.1})
    with pytest.raises(SourceError, match="has a split validation of its own"):
        splits.shares_by_given({"train", "validation"}, SPLITS, {"train": 0.1})


def test_a_position_on_a_cut_is_beyond_it():
    cuts = [(100, "train"), (POSITIONS, "test")]

    assert [splits.split_of(p, cuts) for p in (0, 99, 100, POSITIONS - 1)] == ["train", "train", "test", "test"]


COUNTS = {"ant": 100, "bee": 25, "cat": 4}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, COUNTS),
        ({"balance": "uniform"}, {"ant": 100, "bee": 100, "cat": 100}),
        ({"balance": "uniform", "per_class": 30}, {"ant": 30, "bee": 30, "cat": 30}),
        ({"balance": "sqrt"}, {"ant": 100, "bee": 50, "cat": 20}),
        ({"balance": "temperature", "temperature": 1}, COUNTS),
        ({"balance": "temperature", "temperature": 2}, {"ant": 100, "bee": 50, "cat": 20}),
        ({"balance": "temperature", "temperature": 0.5}, {"ant": 100, "bee": 6, "cat": 1}),  # 6.25 and 0.16
        ({"balance": "temperature", "temperature": float("inf")}, {"ant": 100, "bee": 100, "cat": 100}),
        ({"balance": "counts", "counts": {"bee": 40, "cat": 0}}, {"ant": 100, "bee": 40, "cat": 0}),
    ],
)
def test_targets(options, expected):
    assert balance.targets(COUNTS, balance_of(**options)) == expected


def test_targets_of_unknown_classes_are_an_error():
    with pytest.raises(errors.BalanceError, match=r"without images in train: dog\. There are: ant, bee, cat"):
        balance.targets(COUNTS, balance_of(balance="counts", counts={"dog": 3, "cat": 1}))


def stored(count: int, copies: Copies) -> list[int]:
    """Records of each of `count` images at the positions 0, 10, 20, ..."""
    return [copies.of(10 * i) for i in range(count)]


@pytest.mark.parametrize(
    ("target", "max_copies", "expected"),
    [
        (4, 10, [1, 1, 1, 1]),
        (6, 10, [2, 2, 1, 1]),
        (8, 10, [2, 2, 2, 2]),
        (3, 10, [1, 1, 1, 0]),
        (1, 10, [1, 0, 0, 0]),
        (0, 10, [0, 0, 0, 0]),
        (100, 3, [3, 3, 3, 3]),
        (100, 1, [1, 1, 1, 1]),
    ],
)
def test_copies_fill_up_in_hash_order(target, max_copies, expected):
    histogram = histogram_of([0, 10, 20, 30])
    wanted = balance_of(balance="counts", counts={"ant": target}, max_copies=max_copies)
    assert balance.targets({"ant": 4}, wanted) == {"ant": target}

    assert stored(4, balance.copies_for(target, histogram, max_copies)) == expected


@given(
    st.dictionaries(st.sampled_from("abc"), st.sets(positions, min_size=1, max_size=40), min_size=1),
    st.sampled_from([{"balance": "uniform"}, {"balance": "sqrt"}, {"balance": "uniform", "per_class": 17}, {}]),
    st.integers(1, 12),
)
def test_copies_meet_the_target_exactly_and_differ_by_one(classes, options, max_copies):
    asked = balance_of(**options, max_copies=max_copies)
    counts = {label: len(items) for label, items in classes.items()}

    for label, wanted in balance.targets(counts, asked).items():
        copies = balance.copies_for(wanted, histogram_of(classes[label]), max_copies)
        each = [copies.of(p) for p in classes[label]]
        assert sum(each) == min(wanted, max_copies * counts[label])
        assert max(each) - min(each) <= 1
        assert max(each) <= max_copies


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4), max_size=8))
def test_components_against_brute_force(groups):
    sets = [set(group) for group in groups]
    changed = True
    while changed:
        changed = False
        for a, b in itertools.combinations(sets, 2):
            if a & b:
                sets = [s for s in sets if s is not a and s is not b] + [a | b]
                changed = True
                break

    assert splits.components(groups) == {member: min(s) for s in sets for member in s}


def test_counts_of_unknown_classes_are_refused_before_a_run():
    balance.check_counts({"cat": 3}, {"ant", "cat"}, "photos")
    with pytest.raises(
        errors.BalanceError, match=r"input 'photos' does not have: bee\. There are: ant, cat\."
    ) as raised:
        balance.check_counts({"cat": 3, "bee": 5}, {"cat", "ant"}, "photos")
    assert raised.value.exit_status == 2
