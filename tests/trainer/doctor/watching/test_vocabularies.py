"""Texts that two vocabularies turned into numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.doctor import subject
from trainer.doctor.subject.training import Place
from trainer.doctor.watching.vocabularies import Vocabularies

WORDS = ["red", "green", "blue", "black", "white", "cold", "warm", "dry", "wet", "old"]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, 8)) for _ in range(60)]
OTHERS = [" ".join(RNG.choice(WORDS[::-1], 8, p=np.arange(10, 0, -1) / 55)) for _ in range(60)]


def adapted(texts):
    layer = keras.layers.TextVectorization(output_sequence_length=8)
    layer.adapt(texts)
    return layer


def found(train, validation, **notes):
    """The findings, where `notes` are layer -> texts that it was called with."""
    vocabularies = Vocabularies()
    rows = {}
    for name, (layer, texts) in notes.items():
        made = layer(tf.constant(texts))
        vocabularies.places[layer] = Place("train.py", 9, f"{name}.adapt(texts)")
        vocabularies.note(layer, made)
        rows[name] = made.numpy()
    labels = np.arange(60) % 2
    seen = subject((rows[train], labels), (rows[validation], labels))
    return vocabularies.compare(seen.train, seen.validation)


def test_two_vocabularies():
    (told,) = found("a", "b", a=(adapted(TEXTS), TEXTS), b=(adapted(OTHERS), OTHERS))
    assert (told.id, told.level) == ("vocabularies-differ", "error")
    assert told.place == "train.py:9: b.adapt(texts)"
    assert "of 10 words and the validation rows by another one of 10. Of 10 words that both have" in told.evidence


@pytest.mark.parametrize("same", [True, False])
def test_one_vocabulary_or_two_alike(same):
    layer = adapted(TEXTS)
    other = layer if same else adapted(TEXTS)
    assert found("a", "b", a=(layer, TEXTS), b=(other, OTHERS)) == []


def test_rows_that_no_layer_made():
    vocabularies = Vocabularies()
    layer = adapted(TEXTS)
    vocabularies.note(layer, layer(tf.constant(TEXTS)))
    images, labels = RNG.random((60, 8)), np.arange(60) % 2
    seen = subject((images, labels), (images, labels))
    assert vocabularies.compare(seen.train, seen.validation) == []
    assert vocabularies.compare(seen.train, None) == []


def test_categories_are_too_short_to_be_told_apart():
    vocabularies = Vocabularies()
    layer = keras.layers.StringLookup(vocabulary=["a", "b"])
    vocabularies.note(layer, layer(tf.constant(["a", "b", "b"])))
    assert vocabularies.known == {}


def padded(tokenizer, vocabularies, texts):
    sequences = tokenizer.texts_to_sequences(texts)
    vocabularies.note_sequences(tokenizer, sequences)
    return tf.keras.preprocessing.sequence.pad_sequences(sequences, maxlen=6, truncating="post")


@pytest.mark.parametrize(("again", "expected"), [(True, ["vocabularies-differ"]), (False, [])])
def test_a_tokenizer_that_is_fitted_again(again, expected):
    vocabularies, labels = Vocabularies(), np.arange(60) % 2
    tokenizer = tf.keras.preprocessing.text.Tokenizer()
    tokenizer.fit_on_texts(TEXTS)
    train = padded(tokenizer, vocabularies, TEXTS)
    if again:
        tokenizer.fit_on_texts(OTHERS + OTHERS)
    seen = subject((train, labels), (padded(tokenizer, vocabularies, OTHERS), labels))
    assert [told.id for told in vocabularies.compare(seen.train, seen.validation)] == expected
