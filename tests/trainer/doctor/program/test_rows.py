"""Programs whose rows are joined wrongly or changed while they are read, and the same programs without the fault."""

import textwrap

import pytest

from tests.support import warm
from trainer.doctor.config import DoctorConfig
from trainer.doctor.program import launch

pytestmark = pytest.mark.slow  # each runs a program in a process of its own


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder; its program runs in a fork of a process that has loaded TensorFlow."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "subprocess", warm)
    return tmp_path


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
