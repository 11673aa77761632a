"""Answers of predict that a program compares with labels that it has stored."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.doctor.program import compared_answers


def found(code):
    told = compared_answers.find("p = model.predict(data)\n" + code, 1)
    return None if told is None else (told.line, told.labels)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print((p.argmax(1) == y_test).mean())", (2, "y_test")),
        ("best = np.argmax(p, axis=1)\nfor t, a in zip(test_labels, best):\n    cm[t, a] += 1", (3, "test_labels")),
        ("print(confusion_matrix(np.argmax(Y_test, 1), p.argmax(1)))", (2, "np.argmax(Y_test, 1)")),
        ("print(roc_auc_score(y_true=self.targets, y_score=p))", (2, "self.targets")),
        ("error = p[:, 0] - y[1200:]", (2, "y[1200:]")),
        ("print((p == y_test).mean())\nprint((p != labels).sum())", (2, "y_test")),
        # one class, or no labels
        ("print((p.argmax(1) == 3).mean(), (p.argmax(1) == target_class).mean())", None),
        ("for name, share in zip(names, p[0]):\n    print(name, share)", None),
        ("print(p - p.mean(), other == y_test)", None),
        # labels that come from the same data
        ("y_true = np.concatenate([data[i][1] for i in range(len(data))])\nprint(p == y_true)", None),
        ("y_true = []\nfor i in range(9):\n    x, y = data[i]\n    y_true.append(y)\nprint(f1_score(y_true, p))", None),
        ("labels = np.concatenate([y for x, y in same])\nprint((p == labels).mean())", None),
        ("labels = []\nfor x, y in data:\n    labels.extend(y)\nprint(p == np.array(labels))", None),
        ("labels = []\nfor i, (x, y) in enumerate(same):\n    labels.append(y)\nprint(p == labels)", None),
        ("print(p == y_test[data.index_array])", None),
        ("def f(:", None),
    ],
)  # fmt: skip
def test_comparisons(code, expected):
    assert found(code) == expected


def test_only_the_answers_of_this_call_count():
    code = "a = model.predict(train)\nb = model.predict(test)\nprint((b == y_test).mean())\n"
    assert compared_answers.find(code, 1) is None
    assert compared_answers.find(code, 2) == compared_answers.Comparison(3, "y_test")


class Rows(keras.utils.PyDataset):
    def __init__(self, again):
        super().__init__()
        self.again, self.y = again, np.arange(40)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        part = self.y[i * 10 : i * 10 + 10]
        return part[:, None], part

    def on_epoch_end(self):
        self.y = self.again(self.y)


def images(shuffle):
    made = tf.keras.preprocessing.image.ImageDataGenerator()
    return made.flow(np.zeros((8, 4, 4, 3)), np.arange(8), shuffle=shuffle)


ROWS = tf.data.Dataset.range(8)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (images(True), "The iterator has shuffle=True."),
        (images(False), ""),
        (ROWS.shuffle(8, reshuffle_each_iteration=False).batch(2), "The dataset has .shuffle()."),
        (ROWS.batch(2), ""),
        (Rows(lambda y: y[::-1]), "The PyDataset gives its labels in another order in each pass."),
        (Rows(lambda y: y), ""),
        (Rows(lambda y: y + 100), ""),  # other labels are no order
        (Rows(lambda y: None), ""),
    ],
    ids=["iterator", "ordered", "tf.data", "batched", "reversed", "kept", "others", "broken"],
)
def test_data_that_shuffle(data, expected):
    assert compared_answers.shuffles(data) == expected
