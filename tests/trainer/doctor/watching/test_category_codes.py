"""Names of categories that training and validation numbered apart."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.support.doctor import subject
from trainer.doctor.watching.category_codes import CategoryCodes
from trainer.doctor.watching.places import Places

RNG = np.random.default_rng(0)
CITIES = ["Bern", "Oslo", "Paris", "Rome", "Wien"]
TRAIN = pd.DataFrame({"city": RNG.choice(CITIES, 80), "sex": RNG.choice(["f", "m"], 80), "age": RNG.random(80)})
TEST = pd.DataFrame({"city": RNG.choice(CITIES[1:], 40), "sex": RNG.choice(["f", "m"], 40), "age": RNG.random(40)})


@pytest.fixture
def codes(monkeypatch):
    """Watches pandas, and puts it back."""
    made = CategoryCodes(Places({}, "."))
    made.start(lambda owner, name, make: monkeypatch.setattr(owner, name, make(getattr(owner, name))))
    return made


def by_codes(frame):
    return frame.astype("category").cat.codes


def by_factorize(frame):
    return pd.factorize(frame)[0]


def by_dictionary(frame):
    return frame.map({name: i for i, name in enumerate(frame.unique())})


def by_replacing(frame):
    return frame.replace({name: i for i, name in enumerate(sorted(frame.unique()))}).astype(int)


def by_names(frame):
    return pd.Categorical(frame, categories=sorted(set(TRAIN.city) | set(TRAIN.sex))).codes


def rows(frame, number):
    return np.stack([number(frame.city), number(frame.sex), frame.age], axis=1).astype("float32")


def compared(codes, train, test):
    labels = np.arange(80) % 2
    return codes.compare(subject((train, labels)).train, test, None, "test")


@pytest.mark.parametrize("number", [by_codes, by_factorize, by_dictionary, by_replacing])
def test_columns_that_are_numbered_apart(codes, number):
    train, test = rows(TRAIN, number), rows(TEST, number)
    (told,) = compared(codes, train, test)
    assert (told.id, told.level) == ("categories-differ", "error")
    assert told.what == (
        "The categories of train and test got their numbers apart, and the same name has another number"
    )
    assert "Of 4 names of the column 'city' that both have, " in told.evidence
    assert told.place.endswith(
        (
            'return frame.astype("category").cat.codes',
            "return pd.factorize(frame)[0]",
            "return frame.map({name: i for i, name in enumerate(frame.unique())})",
            "return frame.replace({name: i for i, name in enumerate(sorted(frame.unique()))}).astype(int)",
        )
    )


def test_scaled_rows_in_another_order_are_found_too(codes):
    train, test = rows(TRAIN, by_codes), rows(TEST, by_codes)
    order = RNG.permutation(80)
    scaled = (train - train.mean(axis=0)) / train.std(axis=0)
    (told,) = compared(codes, scaled[order], (test - train.mean(axis=0)) / train.std(axis=0))
    assert "'Oslo': 1 in train and 0 in test" in told.evidence


def test_labels_that_are_numbered_apart(codes):
    y, y_test = by_codes(TRAIN.city).to_numpy(), by_codes(TEST.city).to_numpy()
    seen = subject((TRAIN[["age"]].to_numpy(), y)).train
    (told,) = codes.compare(seen, TEST[["age"]].to_numpy(), y_test, "validation")
    assert "Of 4 names of the column 'city' that both have, 4 have other numbers" in told.evidence


def test_columns_that_have_the_same_numbers(codes):
    assert compared(codes, rows(TRAIN, by_names), rows(TEST, by_names)) == []
    whole = pd.concat([TRAIN, TEST], ignore_index=True)
    numbered = rows(whole, by_codes)
    assert compared(codes, numbered[:80], numbered[80:]) == []
    assert compared(codes, rows(TRAIN, by_codes), rows(TRAIN, by_codes)) == []  # made apart, and yet alike
    assert len(codes.codings) == 10


def test_one_dictionary_for_both_and_dictionaries_of_other_things(codes):
    cities, sexes = ({name: i for i, name in enumerate(sorted(names))} for names in (CITIES, ["m", "f"]))
    train, test = (
        np.stack([frame.city.map(cities), frame.sex.map(sexes), frame.age], axis=1) for frame in (TRAIN, TEST)
    )
    assert compared(codes, train, test) == []
    assert len(codes.codings) == 4
    TRAIN.age.map({0.5: 1})
    TRAIN.city.map({"Bern": "BE"})
    TRAIN.city.map(str.lower)
    assert len(codes.codings) == 4


@pytest.mark.parametrize(("again", "expected"), [(True, ["categories-differ"]), (False, [])])
def test_lookups_that_are_adapted_twice(codes, again, expected):
    def numbered(layer, frame):
        made = layer(tf.constant(frame.city))
        codes.note_lookup(layer, made)
        return np.stack([made.numpy(), frame.age], axis=1)

    first, second = keras.layers.StringLookup(), keras.layers.StringLookup()
    first.adapt(TRAIN.city.to_numpy(str))
    second.adapt(TEST.city.to_numpy(str))
    train, test = numbered(first, TRAIN), numbered(second if again else first, TEST)
    assert [told.id for told in compared(codes, train, test)] == expected


def test_rows_that_no_coding_made(codes):
    rows(TRAIN, by_codes), rows(TEST, by_factorize)
    assert compared(codes, RNG.random((80, 3)), RNG.random((40, 3))) == []
    assert codes.compare(None, TEST.age.to_numpy(), None, "test") == []


def dummies(frame):
    return pd.get_dummies(frame)


@pytest.mark.parametrize("scale", [1, 0.25])
def test_columns_of_0_and_1_that_are_made_apart(codes, scale):
    """By hand: the columns of train are age, Bern, Oslo, Paris, Rome, Wien, f, m; of test, two other cities lack."""
    fewer = TEST[TEST.city.isin(CITIES[1:4])].assign(
        country=RNG.choice(["at", "ch"], TEST.city.isin(CITIES[1:4]).sum())
    )
    train, test = dummies(TRAIN), dummies(fewer)
    assert train.shape[1] == test.shape[1]
    (told,) = compared(codes, train.to_numpy("float32") * scale, test.to_numpy("float32") * scale)
    assert told.id == "categories-differ"
    assert "stand for other names, such as column 1: 'city_Bern' in train and 'city_Oslo' in test." in told.evidence
    assert told.evidence.startswith("7 of the columns of 0 and 1")
    assert told.place.endswith("return pd.get_dummies(frame)")
    assert "reindex(columns=train.columns, fill_value=0)" in told.fix


def test_columns_of_0_and_1_in_the_order_of_train(codes):
    train = dummies(TRAIN)
    test = dummies(TEST).reindex(columns=train.columns, fill_value=0)
    assert compared(codes, train.to_numpy("float32"), test.to_numpy("float32")) == []
    assert len(codes.indicators) == 7 + 6
