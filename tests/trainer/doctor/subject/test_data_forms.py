"""Every form in which people hold their data is read alike, and a generator gets back what was read ahead."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.doctor import batches, cnn, doctor, ids
from trainer.doctor.probes import registry
from trainer.doctor.probes.data import shuffling
from trainer.doctor.subject import data_forms, load
from trainer.doctor.subject.data_forms import Peeked
from trainer.doctor.subject.sample import DatasetError

X = np.random.default_rng(0).random((40, 8, 8, 3), np.float32)
Y = np.arange(40) % 2
X2, Y2 = X[:12], Y[:12]


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.x) // 16)

    def __getitem__(self, index):
        return self.x[index * 16 : index * 16 + 16], self.y[index * 16 : index * 16 + 16]


def generator(x, y):
    for start in range(0, len(x), 16):
        yield x[start : start + 16], y[start : start + 16]


def in_order(x, y):
    return batches(x, y, shuffle=False)


@pytest.mark.parametrize(
    "made",
    [
        (X, Y),
        (X.tolist(), Y.tolist()),
        (X.astype(np.float64), Y),
        (tf.constant(X), tf.constant(Y)),
        in_order(X, Y),
        Batches(X, Y),
        [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)],
        {"x": X, "y": Y},
        {"train": (X, Y)},
        in_order(X, Y).map(lambda x, y: {"image": x, "label": y}),
    ],
    ids=["arrays", "lists", "float64", "tensors", "tf.data", "pydataset", "batches", "x-y", "train", "dictionaries"],
)
def test_training_alone_in_every_form(made):
    subject = load.subject_of(dataset=made if callable(made) else lambda: made)
    assert np.allclose(subject.train.sample.images, X)
    assert subject.train.sample.images.dtype == np.float32  # Keras gives float32 to the model
    assert subject.train.sample.ids.tolist() == Y.tolist()
    assert subject.train.sample.complete
    assert subject.validation is None


@pytest.mark.parametrize(
    "made",
    [
        ((X, Y), (X2, Y2)),
        (X, Y, X2, Y2),
        (X, X2, Y, Y2),
        (in_order(X, Y), in_order(X2, Y2)),
        [in_order(X, Y), in_order(X2, Y2), in_order(X, Y)],
        {"train": in_order(X, Y), "val": in_order(X2, Y2)},
        {"test": Batches(X, Y), "validation": Batches(X2, Y2), "train": Batches(X, Y)},
        (Batches(X, Y), (X2, Y2)),
    ],
    ids=["pairs", "four", "train_test_split", "datasets", "three", "dictionary", "test-too", "mixed"],
)
def test_training_and_validation_in_every_form(made):
    subject = load.subject_of(dataset=lambda: made)
    assert len(subject.train.sample) == 40
    assert subject.validation.sample.ids.tolist() == Y2.tolist()
    assert not subject.problems


def test_a_generator_is_read_once_and_is_not_accused_of_its_order():
    subject = load.subject_of(dataset=lambda: generator(X, Y))
    assert len(subject.train.sample) == 40
    assert subject.train.second is None
    report = doctor(*shuffling.PROBES, dataset=lambda: generator(X, Y))
    assert ids(report) == []


def test_arrays_that_keras_shuffles_are_not_called_sorted():
    order = np.argsort(np.tile(Y, 5), kind="stable")
    x, y = np.tile(X, (5, 1, 1, 1))[order], np.tile(Y, 5)[order]
    assert "sorted-input" in ids(doctor(*shuffling.PROBES, dataset=lambda: in_order(x, y)))
    assert ids(doctor(*shuffling.PROBES, dataset=lambda: (x, y))) == []


def test_weights_and_a_ragged_last_batch_are_kept():
    form, _ = data_forms.splits((X, Y, Y + 0.5))
    found = list(form.new_pass())
    assert [len(x) for x, _, _ in found] == [32, 8]
    assert found[1][2].tolist() == (Y[32:] + 0.5).tolist()


@pytest.mark.parametrize("made", [("a", "b"), 3, None, {"photos": X}, (X, Y[:3])])
def test_what_is_no_data(made):
    with pytest.raises(DatasetError):
        data_forms.splits(made)


def test_what_is_read_ahead_of_a_generator_is_given_back_even_if_it_reuses_its_array():
    def reusing():
        array = np.zeros((2, 2))
        for i in range(5):
            array[:] = i
            yield array, np.zeros(2)

    peeked = Peeked(reusing())
    assert [x[0, 0] for x, _ in itertools.islice(peeked.peek(), 3)] == [0, 1, 2]
    assert [x[0, 0] for x, _ in peeked.restored()] == [0, 1, 2, 3, 4]


def test_the_finding_on_dictionaries_has_the_line_to_write():
    data = in_order(X, Y).map(lambda x, y: {"image": x, "label": y})
    (told,) = load.subject_of(dataset=lambda: data).problems
    assert told.id == "dataset-dictionary"
    assert '.map(lambda d: (d["image"], d["label"]))' in told.fix.replace("'", '"')


def two_inputs():
    image, number = keras.Input((8, 8, 3), name="image"), keras.Input((2,), name="number")
    flat = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(image))
    model = keras.Model(
        {"number": number, "image": image}, keras.layers.Dense(2)(keras.layers.Concatenate()([flat, number]))
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_a_model_of_two_inputs_is_called_with_both():
    numbers = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(({"number": numbers, "image": X}, Y)).batch(16)
    report = doctor(*registry.all_probes(), dataset=lambda: data, model=two_inputs)
    assert load.subject_of(dataset=lambda: data, model=two_inputs).outputs.shape == (40, 2)
    assert "input-shape" not in ids(report)
    assert "overfitting one batch" in report.checked


def test_a_model_may_be_a_variable():
    model = cnn(2)
    assert load.subject_of(model=model).model is model


def test_names_of_variables_are_taken_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "mine_of_variables.py").write_text(
        "import numpy as np\nfrom tests.support.doctor import cnn\n"
        "data = (np.zeros((4, 32, 32, 3), np.float32), np.arange(4) % 2)\nnetwork = cnn(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    from trainer.doctor.config import DoctorConfig

    subject = load.gather(DoctorConfig(dataset="mine_of_variables:data", model="mine_of_variables:network"))
    assert len(subject.train.sample) == 4
    assert subject.outputs.shape == (4, 2)
