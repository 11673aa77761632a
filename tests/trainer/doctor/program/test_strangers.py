"""The forms of strangers' programs are taken as they are."""

import importlib.util
import pathlib
import shutil

import pytest

from tests.support import warm
from tests.support.doctor import ids
from trainer.doctor import run_probes
from trainer.doctor.config import DoctorConfig
from trainer.doctor.probes import registry
from trainer.doctor.program import launch
from trainer.doctor.subject import load

pytestmark = pytest.mark.slow


@pytest.fixture
def strangers(real_data, monkeypatch):
    folder = real_data / "programs" / "strangers"
    if not folder.is_dir():
        pytest.skip("no programs beside the photographs")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("SHARDMILL_DATA", str(real_data))
    return folder


def faults(report):
    """The ids of the findings that are no remarks."""
    remarks = [finding.id for finding in report.findings if finding.level == "info"]
    return [id_ for id_ in ids(report) if id_ not in remarks]


def module(folder, name):
    path = pathlib.Path(folder, name, "prog.py")
    spec = importlib.util.spec_from_file_location(f"stranger_{name.replace('-', '_')}", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("f01-numpy-arrays", []),
        ("f03-pydataset", []),
        ("f04-generator", []),
        ("f06-model-variable-only", []),
        ("f10-three-datasets", []),
        ("f11-dict-of-datasets", []),
        ("f15-dataset-dict-batches", ["dataset-dictionary"]),
        ("h08-dict-inputs", []),
        ("h09-weights-in-dataset", []),
    ],
)
def test_data_and_model_of_a_stranger(strangers, name, found):
    program = module(strangers, name)
    report = run_probes.run(load.subject_of(dataset=program.data, model=program.model), registry.all_probes())
    assert faults(report) == found
    assert "overfitting one batch" in report.checked


def test_variables_of_a_stranger(strangers):
    program = module(strangers, "f05-module-level-objects")
    made = (program.train_ds, program.val_ds)
    report = run_probes.run(load.subject_of(dataset=made, model=program.model), registry.all_probes())
    assert faults(report) == []


def test_a_script_that_trains(strangers, tmp_path, monkeypatch):
    shutil.copy(strangers / "f07-script-that-trains" / "prog.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(strangers))
    monkeypatch.setattr(launch, "subprocess", warm)
    report, _ = launch.examine(DoctorConfig(program=("prog.py",)))
    skew = next(f for f in report.findings if f.id == "splits-differ-normalization")
    assert skew.place.startswith("prog.py:13: net.fit(")
