"""The current folder of a program that the doctor runs."""

import pytest

from tests.support import warm
from trainer.doctor.program import launch


@pytest.fixture
def cold_folder(tmp_path, monkeypatch):
    """For tests that start a new interpreter for the program, as the command does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(cold_folder, monkeypatch):
    """For tests whose program runs in a fork of a process that has loaded TensorFlow.

    One thread for its tiny networks: half the changes of thread, and a twentieth less of the processor.
    """
    monkeypatch.setattr(launch, "subprocess", warm)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
    return cold_folder
