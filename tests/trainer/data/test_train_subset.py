"""Shares of the train images: nested, of each class, and with the copies of an image."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines import contract as contracts
from pipelines.core.errors import ConfigError
from tests.support import tasks
from tests.support.datasets import write_dataset
from trainer import dataset
from trainer.config import TrainConfig, TrainerError, share_name
from trainer.data import parts, train_subset
from trainer.evaluation import inference


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 images of ok and 8 of broken in two shards; the key of a record is its number."""
    folder = tmp_path_factory.mktemp("shares")
    write_dataset(folder, encoding="uint8")
    return folder


def test_shares_are_nested_and_of_each_class(data):
    contract = contracts.load(data)
    keys, labels = inference.keys(data, "train")
    of_classes = [sorted(key for key, label in zip(keys, labels, strict=True) if label == c) for c in (0, 1)]
    before: set[str] = set()
    for share, expected in ((1 / 8, (3, 1)), (0.3, (8, 3)), (1 / 2, (12, 4))):
        name = share_name(share)
        found, _ = inference.keys(data, name)
        assert set(found) == {key for own, n in zip(of_classes, expected, strict=True) for key in own[:n]}
        assert before < set(found)
        before = set(found)
        split = parts.find(contract, data, name).contract.split(name)
        assert split.stored == dict(zip(("ok", "broken"), expected, strict=True))
        assert split.natural == split.stored
        assert split.records == sum(expected)
        assert train_subset.view(contract, data, train_subset.Share(share)).split("train") == split


def test_each_seed_has_shares_of_its_own_which_are_nested_too(data):
    def keys(share, seed):
        return set(inference.keys(data, share_name(share, seed))[0])

    assert len({frozenset(keys(0.25, seed)) for seed in range(4)}) == 4
    assert keys(0.25, 3) < keys(0.5, 3)
    assert keys(0.25, 3) == keys(0.25, 3)
    assert TrainConfig("d", "o", train_share=0.25, seed=3).train_part == "train-share-0.25-seed-3"


def test_the_name_of_a_share_has_all_its_digits(data):
    for share in (1 / 8, 2 / 3, 1 - 2**-53, 1e-9):
        assert train_subset.share_of(share_name(share)) == train_subset.Share(share)
    share = 2 / 3  # 16 of 24; 0.666667 would be 17
    found, _ = inference.keys(data, share_name(share))
    assert (
        len(found)
        == train_subset.view(contracts.load(data), data, train_subset.Share(share)).split("train").records
        == 22
    )


def test_the_loader_reads_a_share_in_any_order(data):
    plain = [labels.numpy() for _, labels in dataset.load(data, share_name(0.25), 4)]
    shuffled = [labels.numpy() for _, labels in dataset.load(data, share_name(0.25), 4, shuffle=True, seed=0)]
    assert sorted(np.concatenate(plain)) == sorted(np.concatenate(shuffled)) == [0] * 6 + [1] * 2


def test_what_a_share_cannot_be(data, tmp_path):
    assert train_subset.share_of("train-share-0.25") == train_subset.Share(0.25, 0)
    assert train_subset.share_of("train-share-0.25-seed-") is None
    assert train_subset.share_of("train-share-1.5") is None
    tasks.write(tmp_path / "numbers", "regression")
    with pytest.raises(TrainerError, match=r"--train-share is for classes\. The task of 'regression' is regression"):
        parts.find(contracts.load(tmp_path / "numbers"), tmp_path / "numbers", share_name(0.5))
    with pytest.raises(ConfigError, match=r"--train-share 0\.5 learns from a part of train, and --fold"):
        TrainConfig("data", "run", train_share=0.5, fold=1)
    assert TrainConfig("data", "run", train_share=0.5).train_part == "train-share-0.5"
    assert TrainConfig("data", "run").train_part == "train"
