"""Balancing while training: who comes how often, in every pass, from maps and from streams."""

import collections
import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contract import ContractError, Split
from tests.support.datasets import make_contract, write_dataset
from trainer.config import TrainConfig, TrainerError
from trainer.data import class_sampling, dataset
from trainer.training import train

COUNTS = (17, 5, 2)
LABELS = ("a", "b", "c")


@pytest.fixture(scope="module", params=["uint8", "png"])
def data(request, tmp_path_factory):
    """24 records that tell themselves apart by the red of their first pixel; from maps, and as streams."""
    path = tmp_path_factory.mktemp("resample") / request.param
    splits = {"train": COUNTS, "validation": (2, 2, 2)}
    write_dataset(path, encoding=request.param, labels=LABELS, splits=splits, shards=3)
    return path


def passes(data, starts, how="uniform", seed=7):
    """[(record, label) of each record, in order] of the passes that begin at `starts`: (number, batches left out)."""
    left = iter(starts)
    batches = dataset.load(
        data, "train", 5, shuffle=True, seed=seed, dequantize=False, start=lambda: next(left), resample=how
    )
    return [
        [(int(i[0, 0, 0]), int(c)) for images, labels in batches for i, c in zip(images, labels, strict=True)]
        for _ in starts
    ]


@pytest.fixture(scope="module")
def seen(data):
    """Passes 0, 1, 2 and 3, and pass 3 from its third batch on."""
    return passes(data, [(0, 0), (1, 0), (2, 0), (3, 0), (3, 2)])


def test_quotas_by_hand():
    assert class_sampling.quotas([90, 10], math.inf) == [50, 50]
    assert class_sampling.quotas([90, 10], 1) == [90, 10]
    assert class_sampling.quotas([90, 10], 2) == [75, 25]  # 90 ** 0.5 : 10 ** 0.5 is 3 : 1
    assert class_sampling.quotas([90, 0, 10], math.inf) == [50, 0, 50]
    assert class_sampling.quotas([5, 3, 2], math.inf) == [4, 3, 3]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20).filter(any), st.floats(1, 1e6))
@settings(max_examples=200, deadline=None)
def test_quotas_add_up_and_keep_the_order_of_the_classes(stored, temperature):
    found = class_sampling.quotas(stored, temperature)
    assert sum(found) == sum(stored)
    for n, q in zip(stored, found, strict=True):
        assert (q == 0) if n == 0 else (q >= 0)
    for i, j in ((i, j) for i in range(len(stored)) for j in range(len(stored)) if stored[i] > stored[j] > 0):
        assert found[i] >= found[j] - 1


def test_a_pass_is_as_long_as_the_split_and_has_each_class_equally_often(seen):
    assert len(seen[0]) == 24
    assert collections.Counter(label for _, label in seen[0]) == {0: 8, 1: 8, 2: 8}
    for label, size in enumerate(COUNTS):
        often = collections.Counter(record for record, other in seen[0] if other == label)
        if size <= 8:  # all of a rare class come, none twice more than another
            assert len(often) == size
            assert max(often.values()) - min(often.values()) <= 1
        else:
            assert set(often.values()) == {1}


def test_a_temperature_in_between(data):
    counts = collections.Counter(label for _, label in passes(data, [(0, 0)], "temperature=2")[0])
    assert [counts[label] for label in range(3)] == class_sampling.quotas(COUNTS, 2) == [13, 7, 4]


def test_two_passes_differ_and_two_runs_agree(data, seen):
    assert passes(data, [(1, 0), (0, 0)]) == [seen[1], seen[0]]
    assert seen[0] != seen[1]
    assert passes(data, [(0, 0)], seed=8)[0] != seen[0]
    chosen = [{record for record, label in one if label == 0} for one in seen[:4]]
    assert len(set(map(frozenset, chosen))) > 1  # of the frequent class, others every time
    assert len(set.union(*chosen)) > 12


def test_a_pass_can_begin_anywhere_and_its_batches_be_told(data, seen):
    assert seen[4] == seen[3][10:]
    options = dataset.ReadOptions("train", 5, shuffle=True, seed=7, resample="uniform")
    records = dataset.records_of_batch(data, options, 3, 2)
    labels = [tf.io.parse_single_example(r, {"label": tf.io.FixedLenFeature([], tf.int64)})["label"] for r in records]
    assert [int(label) for label in labels] == [label for _, label in seen[3][10:15]]
    batches = dataset.load(data, "train", 5, shuffle=True, seed=1, resample="uniform")
    assert int(batches.cardinality()) == 5
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 4]


def test_a_class_without_records_is_left_out(tmp_path):
    write_dataset(tmp_path / "d", encoding="uint8", labels=LABELS, splits={"train": (6, 0, 2)})
    assert collections.Counter(label for _, label in passes(tmp_path / "d", [(0, 0)])[0]) == {0: 4, 2: 4}


def test_without_shuffle_there_is_no_such_pass(data):
    with pytest.raises(TrainerError, match=r"no order without shuffle\. Received: resample='uniform'"):
        dataset.load(data, "train", 5, resample="uniform")


def test_labels_that_are_not_those_of_the_contract_are_named(tmp_path):
    contract = write_dataset(tmp_path / "d", encoding="uint8", labels=LABELS, splits={"train": COUNTS})
    stored = {"a": 16, "b": 6, "c": 2}
    changed = dataclasses.replace(contract.splits["train"], natural=stored, stored=stored)
    (tmp_path / "d" / "contract.json").write_text(dataclasses.replace(contract, splits={"train": changed}).to_json())
    with pytest.raises(ContractError, match=r"should hold \[16, 6, 2\] records .* Received: \[17, 5, 2\]"):
        passes(tmp_path / "d", [(0, 0)])


def balanced(mode, stored):
    split = Split(dict(zip(LABELS, (90, 9, 1), strict=True)), dict(zip(LABELS, stored, strict=True)), {}, ())
    return make_contract(labels=LABELS, balance={"mode": mode}, splits={"train": split})


@pytest.mark.parametrize(
    ("mode", "stored", "options", "said"),
    [
        ("none", (90, 9, 1), {"loss": "weighted"}, []),
        ("none", (90, 9, 1), {"resample": "uniform"}, []),
        ("none", (90, 9, 1), {"resample": "uniform", "loss": "focal"}, ["--resample uniform and --loss focal both"]),
        ("uniform", (90, 90, 90), {}, []),
        ("uniform", (90, 90, 90), {"loss": "weighted"}, ["--loss weighted does nothing here: prepare --balance unif"]),
        ("uniform", (90, 90, 90), {"loss": "logit-adjusted"}, ["--loss logit-adjusted does nothing here"]),
        ("uniform", (90, 90, 10), {"loss": "weighted"}, ["what prepare --balance uniform left unequal"]),
        ("sqrt", (90, 28, 9), {"loss": "logit-adjusted"}, ["what prepare --balance sqrt left unequal"]),
        ("sqrt", (90, 28, 9), {"loss": "focal"}, ["prepare --balance sqrt and --loss focal both favour rare"]),
        ("none", (90, 9, 1), {"resample": "temperature=2", "loss": "weighted"}, ["--resample temperature=2 left une"]),
    ],
)
def test_two_ways_of_balancing_are_warned_about_by_name(mode, stored, options, said):
    found = class_sampling.check(TrainConfig("d", "o", **options), balanced(mode, stored))
    assert len(found) == len(said)
    assert all(part in whole for part, whole in zip(said, found, strict=True))


def test_balancing_twice_is_refused_by_name(data, tmp_path):
    with pytest.raises(TrainerError, match=r"--resample uniform is for shards with natural .* prepare --balance sqrt"):
        class_sampling.check(TrainConfig("d", "o", resample="uniform"), balanced("sqrt", (90, 28, 9)))
    with pytest.raises(TrainerError, match="--resample uniform and --loss weighted would balance the classes twice"):
        train.train(TrainConfig(str(data), str(tmp_path / "o"), resample="uniform", loss="weighted"))
    assert not (tmp_path / "o").exists()


def test_priors_are_of_the_records_as_trained_on():
    contract = balanced("none", (90, 9, 1))
    assert class_sampling.priors(contract, "none") == [0.9, 0.09, 0.01]
    assert class_sampling.priors(contract, "uniform") == [0.34, 0.33, 0.33]
    np.testing.assert_allclose(class_sampling.priors(contract, "temperature=2"), [0.7, 0.22, 0.08])
