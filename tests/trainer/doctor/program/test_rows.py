"""Programs whose rows are joined wrongly or changed while they are read, and the same programs without the fault."""

import textwrap

import pytest

from trainer.doctor.config import DoctorConfig
from trainer.doctor.program import launch

pytestmark = pytest.mark.slow  # each runs a program in a process of its own


def run(folder, code, **options):
    """The report on a program, which lies in the current folder."""
    (folder / "train.py").write_text(textwrap.dedent(code))
    report, _ = launch.examine(DoctorConfig(program=("train.py",), **options))
    assert not [(what, why) for what, why in report.not_checked if "the check failed" in why]
    return report


def errors(report):
    return [finding.id for finding in report.findings if finding.level == "error"]


HOUSES = """
import keras, numpy as np, pandas as pd
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
area, rooms = rng.uniform(30, 220, 800), rng.integers(1, 9, 800)
df = pd.DataFrame({"area": area, "rooms": rooms, "price": area / 50 + rooms / 2 + rng.normal(0, 0.1, 800)})
df.loc[rng.choice(800, 60, replace=False), "area"] = np.nan
df = df.dropna()
scaled = df[["area", "rooms"]]
scaled = pd.DataFrame(((scaled - scaled.mean()) / scaled.std()).to_numpy(), columns=["area", "rooms"]INDEX)
table = pd.concat([scaled, df["price"]], axis=1).dropna()
x, y = table[["area", "rooms"]].to_numpy("float32"), table["price"].to_numpy("float32")
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.01), "mse")
model.fit(x, y, epochs=40, validation_split=0.2, verbose=0)
"""


def test_a_new_table_beside_rows_that_kept_their_numbers(folder):
    report = run(folder, HOUSES.replace("INDEX", ""))
    assert errors(report) == ["rows-misaligned"]
    assert report.findings[0].place == 'train.py:11: table = pd.concat([scaled, df["price"]], axis=1).dropna()'
    assert "Both sides have 740 rows." in report.findings[0].evidence


def test_a_new_table_with_the_numbers_of_its_rows(folder):
    assert errors(run(folder, HOUSES.replace("INDEX", ", index=df.index"))) == []


PICTURES = """
import keras, numpy as np
from keras import layers
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
y = rng.integers(0, 2, 1400)
x = (rng.random((1400, 8, 8, 1)) * 120 + 120 * y[:, None, None, None]).astype("float32")

class Pictures(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.images, self.labels = images, labels
    def __len__(self):
        return len(self.images) // 50
    def __getitem__(self, i):
        batch = self.images[50 * i:50 * i + 50]
        CHANGE
        return batch, self.labels[50 * i:50 * i + 50]

def generated(images, labels):
    while True:
        for i in range(0, len(images), 50):
            batch = images[i:i + 50]
            CHANGE
            yield batch, labels[i:i + 50]

model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(8, 3, activation="relu"),
                          layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
before = x[1199].mean()
model.fit(DATA, epochs=8, steps_per_epoch=24, validation_data=(x[1200:] / 255, y[1200:]), verbose=0)
open("divisions", "w").write(str(round(np.log(before / x[1199].mean()) / np.log(255), 2)))
"""


@pytest.mark.parametrize(
    ("data", "name"), [("Pictures(x[:1200], y[:1200])", "self.images"), ("generated(x[:1200], y[:1200])", "images")]
)
@pytest.mark.parametrize(
    ("change", "expected"), [("batch /= 255", ["data-changed-in-place"]), ("batch = batch / 255", [])]
)
def test_data_that_are_divided_in_place(folder, data, name, change, expected):
    report = run(folder, PICTURES.replace("DATA", data).replace("CHANGE", change), full=True)
    assert (folder / "divisions").read_text() == ("8.0" if expected else "0.0")  # as without the doctor
    found = [finding for finding in report.findings if finding.level == "error" and not finding.follows]
    assert [finding.id for finding in found] == expected
    for finding in found:
        assert f"rows of {name}, and another one changes rows of these again" in finding.evidence
        assert "A pass multiplies them by 1/255. What changes them is `batch /= 255`." in finding.evidence
        assert finding.place.startswith("train.py:31: model.fit(")
