"""Starts worker processes through a fork server, and exchanges messages with them.

`pool.py` decides which worker does what. `fork_server.py` is the other end.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

from pipelines.workers import fork_server

START_SECONDS = 300.0  # for importing TensorFlow on a busy machine
BUFFER = 1 << 18  # bytes of answers that are read at a time
# Describes a worker: the module of its tasks, and its environment variables in addition to those of this process.
Kind = tuple[str, tuple[tuple[str, str], ...]]
END_SECONDS = 1.0  # for a fork server to end; it takes longer while it imports
CRASHED = "The process that decoded it ended: it crashed or ran out of memory."
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Shards must not depend on the processor, and preparing must not take GPU memory from a trainer on this machine.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",
    # A worker has one thread, since there is a worker for every core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class WorkerError(RuntimeError):
    """Says that workers cannot be started, or that a task failed by a defect.

    No input should make a task fail in this way.
    """


class TaskLostError(Exception):
    """Says that a worker was killed at its deadline, or died.

    `reason` is a short stable word, the message is a sentence.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def start(kind: Kind, folder: str = "") -> WorkerProcess:
    """Forks a new worker, from a new fork server if the first one was killed.

    Args:
      folder: the folder of the worker's process. If it is not there any more, it is that in which the fork server was
        started.

    Raises:
      WorkerError: the worker cannot be started.
    """
    try:
        return _fork_server(kind).fork(folder)
    except WorkerError:
        return _fork_server(kind).fork(folder)


class WorkerProcess:
    """Holds this end of the connection to `fork_server._work`.

    Requests go out and answers come in, both pickled and in order.
    """

    def __init__(self, connection: socket.socket, process: int):
        self._connection, self._process = _Connection(connection), process
        self._answers = io.BufferedReader(self._connection, BUFFER)
        self._shared: tuple[Any, ...] = ()  # what the worker has

    def send(self, task: str, shared: tuple[Any, ...], items: Sequence[tuple[Any, ...]]) -> bool:
        """Sends a request without waiting.

        `receive` sends the part of it that the worker does not take now. The shared arguments are sent only where they
        differ from those of the request before.

        Returns:
          False if the worker has ended. `receive` then returns the answers that it gave before its end.
        """
        new = None if shared == self._shared else shared
        self._shared = shared
        return self._connection.send(pickle.dumps((task, new, items), pickle.HIGHEST_PROTOCOL))

    def receive(self, deadline: float | None) -> tuple[bool, Any]:
        """Returns the next answer.

        Raises:
          TaskLostError: it does not come in time or at all. The worker is killed before.
        """
        self._connection.timeout = deadline
        try:
            done, result = pickle.load(self._answers)  # noqa: S301 (of our own process)
        except TimeoutError as e:
            raise self._lost("timeout", f"It took longer than {deadline:g} seconds (--image-timeout).") from e
        except (EOFError, OSError, pickle.UnpicklingError) as e:
            raise self._lost("crashed", CRASHED) from e
        return done, result

    def end(self) -> None:
        """Ends the process, which has answered all requests."""
        self._connection.close()

    def _lost(self, reason: str, message: str) -> TaskLostError:
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            os.kill(self._process, signal.SIGKILL)
        return TaskLostError(reason, message)


class _Connection(io.RawIOBase):
    """Sends while it reads.

    A worker that sends a large answer does not read until the answer is taken. If this process waited in the same way
    while it sends a large request, both would wait for ever.

    timeout: seconds without a byte after which reading raises TimeoutError; None: no limit.
    """

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._unsent = memoryview(b"")
        self._poll = select.poll()
        self.timeout: float | None = None

    def send(self, data: bytes) -> bool:
        """Sends as much as the other end takes now. Returns False if it has ended."""
        self._unsent = memoryview(bytes(self._unsent) + data) if self._unsent else memoryview(data)
        return self._send_some()

    def _send_some(self) -> bool:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return True
        except OSError:  # the other end has ended; what it sent before can still be read
            self._unsent = memoryview(b"")
            return False
        return True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what has come, as soon as there is something; 0 at the end."""
        while True:
            self._poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            ready = self._poll.poll(None if self.timeout is None else 1000 * self.timeout)
            if not ready:
                raise TimeoutError
            [(_, events)] = ready
            if events & select.POLLOUT:
                self._send_some()
            if events & ~select.POLLOUT:
                return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._socket.close()
        super().close()


class _ForkServer:
    """Starts a fork server and holds this end of the connection to it."""

    def __init__(self, kind: Kind) -> None:
        module, environment = kind
        self._lock = threading.Lock()
        self._answers = True  # False once it did not: a killed process closes its files before it can be waited for
        self._control, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from pipelines.workers import fork_server; "
            f"fork_server.serve({theirs.fileno()}, {module!r}, {_temporary_folder()!r})"
        )
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own code in our own interpreter)
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env={**os.environ, **ENVIRONMENT, **dict(environment), "TMPDIR": _temporary_folder()},
                start_new_session=True,
            )
        self._control.settimeout(START_SECONDS)

    def fork(self, folder: str) -> WorkerProcess:
        """Forks a new worker in a folder and returns it when it is ready for requests.

        Raises:
          WorkerError: the worker cannot be started.
        """
        ours, theirs = socket.socketpair()
        with self._lock, theirs, contextlib.ExitStack() as opened:
            given = [theirs.fileno()]
            with contextlib.suppress(OSError):  # it is gone, or none is asked for
                given.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
                opened.callback(os.close, given[-1])
            try:
                socket.send_fds(self._control, [fork_server.FORK], given)
                answer = self._control.recv(fork_server.PID.size)
            except OSError as e:
                self._answers = False
                raise WorkerError(f"No worker process can be started ({e}).{self._told()}") from e
        if len(answer) != fork_server.PID.size:
            self._answers = False
            raise WorkerError(f"No worker process can be started.{self._told()}")
        worker = WorkerProcess(ours, fork_server.PID.unpack(answer)[0])
        try:
            ready, result = worker.receive(START_SECONDS)
        except TaskLostError as e:
            raise WorkerError("A worker process ended before it was ready.") from e
        if not ready:
            raise WorkerError(f"A worker process cannot get ready:\n{result}")
        return worker

    def alive(self) -> bool:
        return self._answers and self._process.poll() is None

    def kill(self) -> None:
        """Ends the fork server alone.

        At its regular end it would remove the temporary folder, which the next one uses.
        """
        self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        """Ends the fork server and its workers."""
        with contextlib.suppress(OSError):  # it has ended
            self._control.shutdown(socket.SHUT_RDWR)  # a thread may wait for its answer
        self._control.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._said.close()

    def _told(self) -> str:
        """Returns what the fork server said, to stand at the end of a sentence."""
        try:
            self._said.seek(0)
            return "\n" + self._said.read().decode("utf-8", "replace")[-4000:]
        except ValueError:  # another thread has replaced the fork server by now, and closed its file
            return ""


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="shardmill-workers-", ignore_cleanup_errors=True)


def _temporary_folder() -> str:
    """Returns the temporary folder of the workers of this process.

    It is removed when this process ends. Libraries leave files in it: TensorFlow's autograph removes its own at the
    regular end of a process, which no worker has.
    """
    return _temporary().name


_fork_servers: dict[Kind, _ForkServer] = {}
_fork_servers_lock = threading.Lock()
_ending = threading.Event()


def _fork_server(kind: Kind) -> _ForkServer:
    """Returns the fork server for workers of a kind, a new one if it was killed."""
    with _fork_servers_lock:
        if _ending.is_set():
            raise WorkerError("No worker process can be started while the program ends.")
        if kind not in _fork_servers or not _fork_servers[kind].alive():
            if kind in _fork_servers:
                _fork_servers[kind].kill()
            elif not _fork_servers:
                _temporary()  # what is registered last is called first: `_close` is to come before its own clean-up
                atexit.register(_close)
            _fork_servers[kind] = _ForkServer(kind)
        return _fork_servers[kind]


def _close() -> None:
    """Closes all that was opened for workers.

    Python warns of what is not closed when a program ends.
    """
    with _fork_servers_lock:
        _ending.set()
        while _fork_servers:
            _fork_servers.popitem()[1].close()
    _temporary().cleanup()
