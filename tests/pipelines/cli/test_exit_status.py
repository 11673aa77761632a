"""The exit status of each kind of error, without a run."""

from __future__ import annotations

import pytest

from pipelines.cli import main
from pipelines.core import errors


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (errors.ConfigError("--size is wrong."), 2, "error: --size is wrong.\n"),
        (errors.DataRejectedError("Too much is bad."), 3, "error: Too much is bad.\n"),
        (errors.NothingUsableError("No image."), 3, "error: No image.\n"),
        (errors.SourceError("No folder."), 1, "error: No folder.\n"),
        (errors.IncompleteError("One is missing."), 1, "error: One is missing.\n"),
        (errors.BusyError("Another run."), 1, "error: Another run.\n"),
        (RuntimeError("DataRejectedError: Too much is bad. [while running 'Plan']"), 3, "error: Too much is bad.\n"),
        (OSError(13, "Permission denied", "out/a"), 1, "error: out/a: Permission denied\n"),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again to continue where it stopped.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_error_is_a_sentence_and_a_status(error, status, told, monkeypatch, capsys):
    def fails(*_):
        raise error

    monkeypatch.setitem(main._COMMANDS, "verify", fails)
    assert main.main(["verify", "out"]) == status
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(("problems", "status"), [([], 0), (["a shard is missing."], 1)])
def test_verify_fails_if_there_is_a_problem(problems, status, monkeypatch, capsys):
    monkeypatch.setattr("pipelines.dataset.verify.verify", lambda _: problems)
    monkeypatch.setattr("pipelines.cli.verify_output.texts", lambda *_: (problems, "1 problem"))
    assert main.main(["verify", "out"]) == status


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--group-from", "p([0-9]+)"], "--group-from 'p([0-9]+)' finds no group in the path '"),
        (["--balance", "counts=cow:5"], "--balance counts names classes that the input"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_that_fit_no_input_are_wrong_use_before_an_image_is_read(flags, told, tmp_path, monkeypatch, capsys):
    for name in ("cat/1.jpg", "dog/2.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).touch()  # no image: to read it would be a reject
    monkeypatch.setattr("pipelines.workers.pool.decoders", lambda *_: None)
    arguments = ["prepare", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), *flags]
    assert main.main(arguments) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
