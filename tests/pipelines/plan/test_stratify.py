"""Iterative stratification: labels are divided by the shares, whole units, whatever the order."""

from __future__ import annotations

import collections
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.elements import Ref, pack
from pipelines.job import split_units
from pipelines.plan import splits, stratify
from pipelines.plan.rank_histogram import RankHistogram
from pipelines.plan.stratify import Signature
from pipelines.tasks.kinds import KINDS

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
SEVERAL = KINDS["multi-label"]


def of(images: int, **features: int) -> str:
    return Signature(images, tuple(sorted(features.items()))).text()


def images_of(made: dict[str, tuple[int, ...]], label: str) -> list[int]:
    """The images with a label that each split got."""
    found = [0] * len(next(iter(made.values())))
    for text, counts in made.items():
        features = dict(stratify.signature(text).features)
        found = [n + features.get(label, 0) * c for n, c in zip(found, counts, strict=True)]
    return found


def test_a_label_on_all_images_and_a_rare_one_are_both_divided():
    made = stratify.distribute({of(1, cat=1): 80, of(1, cat=1, dog=1): 20}, SHARES)

    assert made == {of(1, cat=1): (64, 8, 8), of(1, cat=1, dog=1): (16, 2, 2)}


def test_labels_that_only_occur_together_with_others():
    units_ = {of(1, ant=1, bee=1): 10, of(1, bee=1, cat=1): 10, of(1, ant=1, cat=1): 10}
    made = stratify.distribute(units_, {"train": 0.5, "test": 0.5})

    assert all(images_of(made, label) == [10, 10] for label in ("ant", "bee", "cat"))


def test_many_rare_labels_do_not_all_go_to_the_largest_split():
    """Of 400 labels of two images, each alone would go to train as a whole."""
    made = stratify.distribute({of(1, **{f"label{i}": 1}): 2 for i in range(400)}, SHARES)
    sizes = [sum(counts[i] for counts in made.values()) for i in range(3)]

    assert 640 <= sizes[0] <= 653
    assert min(sizes[1:]) >= 73


LABELS = st.sets(st.sampled_from("abcdef"), max_size=4)


@st.composite
def collections_of_units(draw):
    """Signature -> number of units: many single images, and some groups."""
    found: dict[str, int] = {}
    for labels in draw(st.lists(LABELS, min_size=1, max_size=12)):
        size = draw(st.sampled_from([1, 1, 1, 2, 5]))
        features = {label: draw(st.integers(1, size)) for label in labels} or {"": size}
        found[of(size, **features)] = draw(st.integers(1, 60))
    return found


@settings(max_examples=75, deadline=None)
@given(collections_of_units(), st.randoms(use_true_random=False))
def test_all_units_are_given_and_shares_hold_whatever_the_order(units_, random_):
    made = stratify.distribute(units_, SHARES)
    shuffled = list(units_.items())
    random_.shuffle(shuffled)

    assert {text: sum(counts) for text, counts in made.items()} == units_
    assert stratify.distribute(dict(shuffled), SHARES) == made
    largest = max(stratify.signature(text).images for text in units_)
    everything = sum(stratify.signature(text).images * count for text, count in units_.items())
    for i, share in enumerate(SHARES.values()):
        size = sum(stratify.signature(text).images * counts[i] for text, counts in made.items())
        assert size <= share * everything + max(2, 0.02 * share * everything) + largest


@settings(max_examples=25, deadline=None)
@given(st.lists(LABELS, min_size=300, max_size=400))
def test_each_label_is_divided_by_the_shares(sets):
    counted = collections.Counter(of(1, **(dict.fromkeys(labels, 1) or {"": 1})) for labels in sets)
    made = stratify.distribute(counted, SHARES)

    for label in sorted({label for labels in sets for label in labels}):
        found = images_of(made, label)
        for share, images in zip(SHARES.values(), found, strict=True):
            assert abs(images - share * sum(found)) <= 4 + 0.06 * sum(found), (label, found)


def refs_of(groups: dict[str, list[str]]) -> list[tuple[str, Ref]]:
    """(unit, Ref) of groups of images with these texts of labels."""
    return [
        (group, Ref(f"{group}/{i}", "", text, "", group, 1.0, f"{group}{i}"))
        for group, texts in groups.items()
        for i, text in enumerate(texts)
    ]


def assigned(pairs: list[tuple[str, Ref]], buckets: int) -> dict[str, str]:
    """Key -> split, with the units in so many buckets, as Beam has them."""
    of_bucket: dict[int, list[tuple[str, Ref]]] = collections.defaultdict(list)
    for unit, ref in pairs:
        of_bucket[hash(unit) % buckets].append((unit, ref))
    packed = [(number, [pack(found)]) for number, found in of_bucket.items()]
    ranks: dict[split_units.Key, RankHistogram] = collections.defaultdict(RankHistogram)
    for bucket in packed:
        for key, histogram in split_units.unit_ranks(bucket, "keep", 0, SEVERAL):
            ranks[key].merge(histogram)
    wanted = split_units.stratified({key: splits.profile_of(r) for key, r in ranks.items()}, SHARES, {})
    cuts = dict(cut for ranked in ranks.items() for cut in split_units.cuts(ranked, wanted))
    made = [e for bucket in packed for e in split_units.assign_split(bucket, "keep", 0, cuts, kind=SEVERAL)]
    return {ref.key: ref.split for e in made if isinstance(e, bytes) for ref in split_units.unpack([e])}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(LABELS, min_size=1, max_size=4), min_size=5, max_size=60), st.integers(1, 7))
def test_groups_stay_together_whatever_the_order_and_the_buckets(groups, buckets):
    from pipelines.tasks.multi_label import text_of

    pairs = refs_of({f"group{i}": [text_of(labels) for labels in sets] for i, sets in enumerate(groups)})
    found = assigned(pairs, 1)
    shuffled = random.Random(1).sample(pairs, len(pairs))

    assert set(found) == {ref.key for _, ref in pairs}
    assert assigned(shuffled, buckets) == found
    of_groups = collections.defaultdict(set)
    for key, split in found.items():
        of_groups[key.split("/")[0]].add(split)
    assert all(len(names) == 1 for names in of_groups.values())


def test_numbers_are_divided_by_quantiles():
    kind = KINDS["regression"]
    pairs = [(f"u{i}", Ref(f"u{i}", "", str(i * i), "", "", 1.0, f"{i}")) for i in range(1000)]
    ranks: dict[int, RankHistogram] = collections.defaultdict(RankHistogram)
    for target, histogram in split_units.value_ranks((0, [pack(pairs)]), kind):
        ranks[target].merge(histogram)
    edges = split_units.edges_of(ranks)

    tenths = collections.Counter(kind.features(ref.label, edges) for _, ref in pairs)

    assert tenths == {(f"0:{i}",): 100 for i in range(10)}
