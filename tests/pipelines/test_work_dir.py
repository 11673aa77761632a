"""What becomes of an unfinished run when the next one comes."""

import dataclasses
import logging
from collections.abc import Mapping

import pytest

from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.core.errors import BusyError, ConfigError
from pipelines.options import config_fields


@pytest.fixture
def config(tmp_path):
    return PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"))


VERSIONS = {"shardmill": "0123456789ab", "numpy": "2.3.1", "tensorflow": "2.21.0"}


def opened(config: PrepareConfig, versions: Mapping[str, str] = VERSIONS) -> work_dir.Work:
    decisive = config_fields.decisive(config)
    return work_dir.open_work(config.output, config.digest(), config.settings(), decisive, versions)


def again(
    config: PrepareConfig, caplog: pytest.LogCaptureFixture, versions: Mapping[str, str] = VERSIONS
) -> tuple[bool, str]:
    """(whether what was done stays, what is said)."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        work = opened(config, versions)
    return storage.exists(work.path("staged", "done")), caplog.text


@pytest.fixture
def unfinished(config):
    work = opened(config)
    storage.write_text(work.path("staged", "done"), "")
    storage.write_text(work.path("plan.json"), "{}")
    return work


def test_the_same_options_go_on(config, unfinished, caplog):
    """With other limits too: which of the staged shards they leave as they are is told from what each rejected."""
    same = dataclasses.replace(config, workers=3, image_timeout=5.0, input=config.input + "-moved")
    stays, said = again(same, caplog)
    assert stays
    assert "Continues an unfinished run" in said
    assert not storage.exists(unfinished.path("plan.json"))


def test_other_options_start_over_and_are_named(config, unfinished, caplog):
    stays, said = again(dataclasses.replace(config, size=(64, 32), balance="uniform", workers=3), caplog)
    assert not stays
    assert 'had other options or versions (--size [128, 128], --balance "none").' in said


def test_other_versions_start_over_and_are_named(config, unfinished, caplog):
    stays, said = again(config, caplog, {**VERSIONS, "numpy": "2.4.0", "pillow": "12.3.0"})
    assert not stays
    assert "had other options or versions (numpy 2.3.1, not 2.4.0, pillow None, not 12.3.0)." in said
    stays, said = again(config, caplog, VERSIONS)
    assert "numpy 2.4.0, not 2.3.1" in said


def test_what_a_run_began_to_replace_is_known_to_one_of_other_options(config, unfinished):
    storage.write_text(unfinished.path(work_dir.REPLACED), "[]")
    work = opened(dataclasses.replace(config, size=(64, 32)))
    assert storage.children(work.root) == ["replaced.json", "run.json"]


def test_a_training_run_is_no_output(config, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("config.yaml", "versions.json", "contract.json"):
        (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(ConfigError, match=r"out' holds a training run\. Name another folder\."):
        work_dir.check_output(config.output, config.input)
    (tmp_path / "out/versions.json").unlink()
    work_dir.check_output(config.output, config.input)  # a dataset beside which somebody keeps a file


def test_one_run_at_a_time_works_in_an_output(config):
    told = r"^Another run is writing to '.*out'\. Wait until it has ended, or choose another --output\.$"
    with work_dir.locked(config.output), pytest.raises(BusyError, match=told), work_dir.locked(config.output):
        pass
    with work_dir.locked(config.output):
        pass


@pytest.mark.parametrize("note", ["", "{", "[]", '{"config_digest": 3, "settings": []}', '{"versions": "2.3.1"}'])
def test_a_damaged_note_starts_over(config, unfinished, caplog, note):
    storage.write_text(unfinished.path("run.json"), note)
    stays, said = again(config, caplog)
    assert not stays
    assert "its note is damaged or of another version" in said
