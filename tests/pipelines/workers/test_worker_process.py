"""The connection to one worker process: what is sent and received, and when it ends."""

import pickle
import socket
import subprocess
import sys

import pytest

from pipelines.workers.worker_process import TaskLostError, WorkerProcess


def test_the_answers_that_a_worker_gave_before_its_end_are_kept():
    """A request that can no longer be sent does not lose them, and blames no item that was done."""
    ours, theirs = socket.socketpair()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    worker = WorkerProcess(ours, ended.pid)
    theirs.sendall(pickle.dumps((True, "first")) + pickle.dumps((True, "second")))
    theirs.close()
    assert worker.send("echo", (), [("third",)]) is False
    assert [worker.receive(9)[1] for _ in range(2)] == ["first", "second"]
    with pytest.raises(TaskLostError):
        worker.receive(9)
