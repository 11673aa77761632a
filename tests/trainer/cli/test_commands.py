"""What a command of the trainer sets up around its work."""

from __future__ import annotations

import logging

import pytest

from pipelines.core import errors
from trainer.cli import main
from trainer.cli.commands import guarded
from trainer.config import TrainerError


def test_progress_is_printed_to_stdout(capsys):
    assert guarded("train", lambda: logging.getLogger("trainer.training.epoch_reports").info("epoch 1/3")) == 0
    assert capsys.readouterr() == ("epoch 1/3\n", "")


def test_the_doctor_leaves_logging_to_the_program_that_it_runs(capsys):
    """Such a program may be called trainer, too."""
    loggers = [logging.getLogger(name) for name in ("", "trainer", "pipelines")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]

    def program():
        assert [(logger.level, logger.propagate, logger.handlers) for logger in loggers] == before
        logging.getLogger("trainer.mine").info("not asked for")

    assert guarded("doctor", program) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError("--seed is wrong."), 2),
        (TrainerError("No model."), 1),
        (errors.ContractError("No dataset."), 1),
        (OSError(28, "No space left on device", "run"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_error_is_a_sentence_and_a_status(error, status, capsys):
    def fails():
        raise error

    assert guarded("train", fails) == status
    assert capsys.readouterr().err.startswith("train: ")


def test_a_command_may_end_with_a_status_of_its_own():
    assert [guarded("doctor", lambda status=status: status) for status in (None, 0, 1)] == [0, 0, 1]


@pytest.mark.parametrize("command", ["train --data d --output o", "evaluate --data d --model m"])
def test_a_list_that_is_given_twice_is_refused(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main([*command.split(), "--slice-by", "brightness", "--slice-by", "folder"])
    assert ended.value.code == 2
    assert "argument --slice-by: was given twice" in capsys.readouterr().err
