"""The plan's numbers equal what `items_of` really yields."""

from __future__ import annotations

import collections
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import PrepareConfig
from pipelines.core import errors, hashing
from pipelines.core.elements import Ref
from pipelines.core.errors import ConfigError, NothingUsableError
from pipelines.job import stages
from pipelines.plan import plan, rank_histogram


def config(**options) -> PrepareConfig:
    return PrepareConfig(input="in", output="out/birds", **options)


def ref(number: int, label: str = "owl", split: str = "train") -> Ref:
    return Ref(f"{label}/{number}.jpg", f"in/{label}/{number}.jpg", label, split, "", 1.0, f"{number:064x}")


def histograms(refs, seed: int = 0) -> dict[tuple[str, str], rank_histogram.RankHistogram]:
    made = collections.defaultdict(rank_histogram.RankHistogram)
    for r in refs:
        made[r.split, r.label].add(hashing.position(seed, "balance", r.key))
    return made


def made_of(ranks, settings_) -> plan.Plan:
    """As the graph makes it: totals, targets, shares, plan."""
    wanted = stages.targets({key: histogram.total for key, histogram in ranks.items()}, settings_.class_balance)
    shares = dict(stages.share_of(item, settings_.max_copies, wanted) for item in ranks.items())
    return plan.make_plan(shares, settings_.balance, settings_.sharding)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["owl", "emu"]), st.sampled_from(["train", "test"])), min_size=1, max_size=60),
    st.sampled_from([{}, {"balance": "uniform"}, {"balance": "uniform", "per_class": 9}, {"balance": "sqrt"}]),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_the_plan_counts_what_items_of_yields(rows, options, shards, seed):
    refs = [ref(i, label, split) for i, (label, split) in enumerate([*rows, ("owl", "train")])]
    settings_ = config(shards=shards, seed=seed, **options)

    made = made_of(histograms(refs, seed), settings_)
    items = [(key, item) for r in refs for key, item in plan.items_of(r, made, settings_.seed)]

    assert made.shards == dict.fromkeys(made.records, shards)
    assert made.records == collections.Counter(split for (split, _), _ in items)
    assert made.natural == {
        split: dict(collections.Counter(r.label for r in refs if r.split == split)) for split in made.natural
    }
    assert made.labels == tuple(sorted({r.label for r in refs}))
    for (split, shard), item in items:
        assert item.ref.split == split
        assert item.position == hashing.position(seed, "order", item.ref.key, item.copy)
        # A shard is a range of the hash line.
        assert shard * hashing.POSITIONS <= item.position * shards < (shard + 1) * hashing.POSITIONS
    copies = collections.defaultdict(list)
    for _, item in items:
        copies[item.ref.key].append(item.copy)
    assert all(found == list(range(len(found))) for found in copies.values())


def test_order_is_global_over_the_shards():
    settings_ = config(shards=4)
    refs = [ref(i) for i in range(200)]
    made = made_of(histograms(refs), settings_)

    by_shard = collections.defaultdict(list)
    for r in refs:
        for (_, shard), item in plan.items_of(r, made, settings_.seed):
            by_shard[shard].append(item.position)

    flat = [position for shard in sorted(by_shard) for position in sorted(by_shard[shard])]
    assert flat == sorted(flat)
    assert all(30 < len(by_shard[shard]) < 70 for shard in range(4))


def test_other_splits_are_never_copied_or_left_out():
    refs = [ref(i) for i in range(9)] + [ref(20, "emu"), ref(21, "emu", "test"), ref(22, "owl", "test")]
    settings_ = config(balance="uniform", per_class=3, shards=1)

    made = made_of(histograms(refs), settings_)

    assert made.records == {"test": 2, "train": 6}
    assert [made.copies_of(r, 0) for r in refs[-3:]] == [3, 1, 1]
    assert sorted(made.copies_of(r, 0) for r in refs[:9]) == [0] * 6 + [1] * 3


def test_nothing_to_train_on():
    with pytest.raises(NothingUsableError, match="No readable image in split 'train'"):
        made_of(histograms([ref(1, split="test")]), config())


def test_a_balance_that_leaves_nothing_to_train_on():
    with pytest.raises(errors.BalanceError, match="--balance counts leaves split 'train' without a record"):
        made_of(histograms([ref(1)]), config(balance="counts", counts={"owl": 0}))


@pytest.mark.parametrize(
    ("records", "options", "expected"),
    [
        (0, {}, 1),
        (255, {}, 1),
        (600, {}, 2),
        (100_000, {}, 74),  # 98,424 bytes a record, 128 MiB a shard: 73.3
        (100_000, {"shards": 5}, 5),
        (1000, {"shard_size": 1}, 98_424_000),
    ],
)
def test_shard_count(records, options, expected):
    assert plan.shard_count(records, config(**options).sharding) == expected


def test_more_shards_than_a_contract_can_name_are_refused_before_anything_is_decoded():
    million = {("test", "owl"): plan.Share(1_000_000, 1_000_000), ("train", "owl"): plan.Share(1, 1)}
    most = plan.MAX_SHARDS
    made = plan.make_plan(million, "none", config(shards=most // 2).sharding)
    assert made.shards == {"test": most // 2, "train": most // 2}
    with pytest.raises(
        ConfigError, match=r"1,000,001 records would be 100,002 shards\. There should be at most 100,000"
    ):
        plan.make_plan(million, "none", config(shards=most // 2 + 1).sharding)
    # 98,424 bytes a record: one to a shard.
    with pytest.raises(ConfigError, match=r"would be 1,000,001 shards\..*use a larger --shard-size"):
        plan.make_plan(million, "none", config(shard_size=98_424).sharding)


def test_shard_names_are_those_that_tfds_reads():
    made = made_of(histograms([ref(1), ref(2, split="test")]), config(shards=2))

    assert plan.shard_names(made, "birds") == {
        "test": ["birds-test.tfrecord-00000-of-00002", "birds-test.tfrecord-00001-of-00002"],
        "train": ["birds-train.tfrecord-00000-of-00002", "birds-train.tfrecord-00001-of-00002"],
    }


def test_the_plans_json_holds_all_of_it():
    made = made_of(histograms([ref(1, "Eule, größer")]), config(shards=1))

    assert json.loads(made.to_json()) == {
        "labels": ["Eule, größer"],
        "natural": {"train": {"Eule, größer": 1}},
        "records": {"train": 1},
        "shards": {"train": 1},
        "copies": {"Eule, größer": {"base": 1, "threshold": 0}},
        "task": "classes",
    }
