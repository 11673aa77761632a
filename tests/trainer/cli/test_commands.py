"""What a command of the trainer sets up around its work."""

from __future__ import annotations

import logging

from trainer.cli.commands import guarded


def test_progress_is_printed_to_stdout(capsys):
    assert guarded("train", lambda: logging.getLogger("trainer.training.history").info("epoch 1/3")) == 0
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
