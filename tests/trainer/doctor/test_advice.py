"""Where photographs are few, the doctor says how to begin with published weights; it is no finding."""

import dataclasses

import numpy as np
import pytest

from tests.support.datasets import make_contract
from tests.support.doctor import subject
from trainer.doctor import advice
from trainer.doctor.command import to_json
from trainer.doctor.config import DoctorConfig
from trainer.doctor.output import page, text
from trainer.doctor.subject.subject import FOLDER, PREPARED

FEW = (np.zeros((6, 4, 4, 3), np.uint8), np.array([0, 0, 0, 0, 1, 1]))


def advised(model="", counts=None, **changes):
    made = subject(FEW, **{"origin": PREPARED, "directory": "my data", "labels": ("cat", "dog"), **changes})
    if counts:
        made = dataclasses.replace(made, train=dataclasses.replace(made.train, counts=counts))
    return advice.published_weights(DoctorConfig(data="my data", model=model), made)


def test_a_prepared_dataset_gets_one_command_and_a_folder_two():
    told, *commands = advised(counts={"cat": 300, "dog": 101})
    assert told.startswith("There are 200 train images for each class on average. With so few, a network that begins")
    train = "python -m trainer train --data {} --output run-transfer/ --recipe transfer"
    assert commands == [train.format("'my data'")]
    assert advised(origin=FOLDER)[1:] == (
        "python -m pipelines prepare --input 'my data' --output data-224/ --for MobileNetV2",
        train.format("data-224/"),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "dataset"},
        {"kind": "regression"},
        {"trained": make_contract()},
        {"model": "mine:network"},
        {"model": "mine.keras"},
        {"counts": {"cat": 1000, "dog": 1000}},
        {"counts": {"cat": 100}},
    ],
    ids=str,
)
def test_nothing_is_said_of_other_data_and_of_models_that_may_have_such_weights(changes):
    assert advised(**changes) == ()
    assert advised(model="cnn") != ()


def test_it_stands_in_text_page_and_json():
    made = text.Report((), ("one check",), (), advice=("Few images:", "do this", "then that"))
    assert "\n\nFew images:\n  do this\n  then that\n\nChecked:" in made.text()
    assert made.to_dict()["advice"] == ["Few images:", "do this", "then that"]
    assert made.to_dict()["healthy"]
    assert "<pre>do this\nthen that</pre>" in page.render(subject(FEW), made)
    assert '"advice"' not in to_json(dataclasses.replace(made, advice=()))
