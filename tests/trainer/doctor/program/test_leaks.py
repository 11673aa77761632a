"""Programs whose score is memory or a copy, and their sound twins."""

import re

import pytest

from tests.trainer.doctor.program.test_programs import ids, run

pytestmark = pytest.mark.slow  # each runs a program in a process of its own


# ---- folds of one model

JUDGED = """
table = rng.normal(size=(150, 12))
labels = (table[:, :4].sum(axis=1) + rng.normal(size=150) > 0).astype(int)

def build():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(32, activation="relu"),
                              layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.003), "binary_crossentropy", metrics=["accuracy"])
    return model

def scaled(rows, by):
    return ((rows - by.mean(axis=0)) / by.std(axis=0)).astype("float32")

model = build()
first = model.get_weights()
for held in np.split(rng.permutation(150), 3):
    kept = np.setdiff1d(np.arange(150), held)
    {new}
    model.fit(scaled(table[kept], table[kept]), labels[kept], epochs=30, batch_size=16, verbose=0)
    rows = scaled(table[held], table[kept])
    {judge}
"""
EVALUATE = "model.evaluate(rows, labels[held], verbose=0)"
PREDICT = "print(np.mean((model.predict(rows, verbose=0)[:, 0] > 0.5) == labels[held]))"


@pytest.mark.parametrize("judge", [EVALUATE, PREDICT])
def test_folds_of_one_model_that_are_judged_after_fit(folder, judge):
    (told,) = run(folder, JUDGED.format(new="pass", judge=judge)).findings
    assert told.id == "validation-trained-on"
    assert told.place.endswith(": " + judge)
    assert "Of 50 rows that were looked at, an earlier fit of this model trained on 50, " in told.evidence


@pytest.mark.parametrize(
    ("new", "judge"),
    [
        ("model = build()", EVALUATE),
        ("model.set_weights(first)", PREDICT),
        ("pass", "print(model.predict(rows, verbose=0).shape)"),
    ],
    ids=["new", "set back", "not compared"],
)
def test_folds_that_are_judged_soundly(folder, new, judge):
    assert ids(run(folder, JUDGED.format(new=new, judge=judge))) == []


# ---- targets of a window

WINDOWS = """
noise = rng.normal(size=1500)
for t in range(1, 1500):
    noise[t] += 0.8 * noise[t - 1]
hours = 2 * np.pi * np.arange(1500) / 24
series = np.stack([noise + 2 * np.sin(hours), np.sin(hours), np.cos(hours)], axis=1).astype("float32") / 2

def windows(part, shuffle):
    return keras.utils.timeseries_dataset_from_array(
        part{until}, part[{late}:, 0], sequence_length=12, batch_size=32, shuffle=shuffle, seed=1)

model = keras.Sequential([keras.Input((12, 3)), layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.01), "mse")
model.fit(windows(series[:1100], True), validation_data=windows(series[1100:], False), epochs=20, verbose=0)
"""


def test_targets_of_windows_that_were_not_shifted(folder):
    report = run(folder, WINDOWS.format(until="", late=0))
    told = report.findings[0]
    assert told.id == "target-in-inputs"
    assert all(finding.follows == "target-in-inputs" for finding in report.findings[1:])
    assert told.what.endswith("its own window: step 0, column 0")
    assert told.place.partition(": ")[2].startswith("model.fit(windows(series[:1100]")
    assert any(line.startswith("train: 1,089 rows (12x3 float32") for line in report.about)
    assert ids(run(folder, WINDOWS.format(until="[:-12]", late=12))) == []


# ---- a folder that two calls divide

FOLDER = """
import pathlib
for name in ("dark", "light"):
    pathlib.Path("photos", name).mkdir(parents=True)
for i in range(160):
    keras.utils.save_img("photos/%s/%d.png" % (("dark", "light")[y[i]], i), x[i] * 255, scale=False)

def part(subset, seed):
    return keras.utils.image_dataset_from_directory(
        "photos", validation_split=0.25, subset=subset, seed=seed, image_size=(16, 16), batch_size=8
    ).map(lambda images, labels: (images / 255, labels))

model = network()
model.fit(part("training", 1), epochs=20, verbose=0{validation})
model.evaluate(part("validation", {seed}), verbose=0)
"""


@pytest.mark.parametrize("validation", ["", ', validation_data=part("validation", {seed})'])
def test_two_calls_that_divide_a_folder(folder, validation):
    told = run(folder, FOLDER.format(validation=validation.format(seed=2), seed=2)).findings[0]
    assert told.id == "folder-divided-twice"
    assert told.place.partition(": ")[2] == "return keras.utils.image_dataset_from_directory("
    assert re.search(r"Of 40 validation files \d\d are also training files\.", told.evidence)
    report = run(folder, FOLDER.format(validation=validation.format(seed=1), seed=1), name="sound.py")
    assert "folder-divided-twice" not in ids(report)
    assert "duplicates-across-splits" not in ids(report)
