"""Manages the worker processes that do all work on an input's bytes.

Decoders are C code that gets files from anywhere. One that hangs, crashes or uses all memory costs one image and one
worker, which is replaced, and never the run. The deadline of a task is enforced from outside the worker. Decoding in
other processes also leaves the interpreter lock of this process to Beam.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from pipelines.storage import remote
from pipelines.workers import fork_server

START_SECONDS = 300.0  # for importing TensorFlow on a busy machine
AHEAD = 12  # requests sent to a worker before it answers, so that it need not wait for them
BUFFER = 1 << 18  # bytes of answers that are read at a time
# Describes a worker: the module of its tasks, and its environment variables in addition to those of this process.
_Kind = tuple[str, tuple[tuple[str, str], ...]]
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


@dataclasses.dataclass(frozen=True)
class _Request:
    """Describes one call of a task, and the future that receives its outcome."""

    task: str
    shared: tuple[Any, ...]
    own: tuple[Any, ...]
    deadline: float | None
    outcome: Future[Any]
    last: bool  # whether it is the last of those submitted together


class Workers:
    """Manages `count` worker processes, each with a thread here that keeps it busy.

    It can be used from many threads.

    Args:
      module: the name of the module whose functions are the tasks.
      environment: variables of the workers in addition to those of this process.
    """

    def __init__(
        self, count: int, module: str = "pipelines.job.worker_tasks", environment: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.count = count
        self._kind = module, environment
        self._waiting: queue.SimpleQueue[list[_Request]] = queue.SimpleQueue()
        for i in range(count):
            threading.Thread(target=self._keep_busy, name=f"worker-{i}", daemon=True).start()

    def submit(
        self, task: str, shared: tuple[Any, ...], items: Iterable[tuple[Any, ...]], deadline: float | None = None
    ) -> list[Future[Any]]:
        """Submits the calls `tasks.TASK(*item, *shared)`, one per item, to one worker.

        The worker does them in order.

        Args:
          deadline: seconds that one item may take before its worker is killed; None: no limit while the worker lives.

        Returns:
          A future per item. It raises TaskLostError ("timeout" or "crashed": another worker does the rest of the
          items), or WorkerError (the task raised, or no worker can be started).
        """
        listed = list(items)
        requests = [
            _Request(task, shared, item, deadline, Future(), number == len(listed))
            for number, item in enumerate(listed, 1)
        ]
        if requests:
            self._waiting.put(requests)
        return [request.outcome for request in requests]

    def _keep_busy(self) -> None:
        """Sends requests ahead of their answers.

        The worker then never waits until this process wakes up.
        """
        worker: _Worker | None = None
        sent: collections.deque[_Request] = collections.deque()
        answered: list[tuple[_Request, Any]] = []  # passed on together: waking threads costs more than an answer
        while True:
            try:
                worker = worker or _fork(self._kind)
                while len(sent) < AHEAD:
                    try:
                        requests = self._waiting.get(block=not sent)
                    except queue.Empty:
                        break
                    sent += requests
                    worker.send(requests)
                answered.append((sent[0], worker.receive(sent[0].deadline)))
                if sent.popleft().last:
                    _tell(answered)
            except TaskLostError as e:
                worker = None
                _tell(answered)
                if sent:
                    sent.popleft().outcome.set_exception(e)
                for _, again in itertools.groupby(sent, key=lambda r: (r.task, id(r.shared))):
                    self._waiting.put(list(again))
                sent.clear()
            except Exception as e:  # no worker can be started: all waiting futures raise it
                worker = None
                _tell(answered)
                for request in sent or self._waiting.get():
                    request.outcome.set_exception(e)
                sent.clear()


def _tell(answered: list[tuple[_Request, Any]]) -> None:
    for request, (done, result) in answered:
        if done:
            request.outcome.set_result(result)
        else:
            text = f"Task {request.task!r} failed in a worker process:\n{result}"
            request.outcome.set_exception(WorkerError(text))
    answered.clear()


class _Worker:
    """Holds this end of the connection to `fork_server._work`.

    Requests go out and answers come in, both pickled and in order.
    """

    def __init__(self, connection: socket.socket, process: int):
        self._connection, self._process = connection, process
        self._answers = connection.makefile("rb", BUFFER)

    def send(self, requests: Sequence[_Request]) -> None:
        """Sends requests of one task.

        Raises:
          TaskLostError: the worker has ended.
        """
        message = (requests[0].task, requests[0].shared, [request.own for request in requests])
        try:
            self._connection.settimeout(START_SECONDS)
            self._connection.sendall(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        except OSError as e:
            raise self._lost("crashed", CRASHED) from e

    def receive(self, deadline: float | None) -> tuple[bool, Any]:
        """Returns the next answer.

        Raises:
          TaskLostError: it does not come in time or at all. The worker is killed before.
        """
        try:
            self._connection.settimeout(deadline)
            done, result = pickle.load(self._answers)  # noqa: S301 (of our own process)
        except TimeoutError as e:
            raise self._lost("timeout", f"It took longer than {deadline:g} seconds (--image-timeout).") from e
        except (EOFError, OSError, pickle.UnpicklingError) as e:
            raise self._lost("crashed", CRASHED) from e
        return done, result

    def _lost(self, reason: str, message: str) -> TaskLostError:
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            os.kill(self._process, signal.SIGKILL)
        return TaskLostError(reason, message)


def decoders(configured: int, source: str) -> Workers:
    """Returns the workers of this process that decode the images of an input.

    Args:
      configured: their number; 0: one for every core.
    """
    return shared(usual_count(configured), "decoders", source)


def shared(count: int, role: str, *paths: str) -> Workers:
    """Returns the workers of this process for one role.

    They are started at the first call and end with the process.

    Args:
      paths: paths that they will read or write; they load the clients of these stores when they start.
    """
    return _shared(count, role, tuple(remote.environment(*paths).items()))


@functools.cache
def _shared(count: int, role: str, environment: tuple[tuple[str, str], ...]) -> Workers:
    del role  # it is part of the cache's key only
    return Workers(count, environment=environment)


def usual_count(configured: int) -> int:
    """Returns the number of workers to use.

    It is the configured number, or one for every core that this process may use.
    """
    return configured or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class _ForkServer:
    """Starts a fork server and holds this end of the connection to it."""

    def __init__(self, kind: _Kind) -> None:
        module, environment = kind
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from pipelines.workers import fork_server; "
            f"fork_server.serve({theirs.fileno()}, {module!r})"
        )
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own code in our own interpreter)
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env={**os.environ, **ENVIRONMENT, **dict(environment)},
                start_new_session=True,
            )
        self._control.settimeout(START_SECONDS)

    def fork(self) -> _Worker:
        """Forks a new worker and returns it when it is ready for requests.

        Raises:
          WorkerError: the worker cannot be started.
        """
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            try:
                socket.send_fds(self._control, [fork_server.FORK], [theirs.fileno()])
                answer = self._control.recv(fork_server.PID.size)
            except OSError as e:
                raise WorkerError(f"No worker process can be started ({e}).{self._told()}") from e
        if len(answer) != fork_server.PID.size:
            raise WorkerError(f"No worker process can be started.{self._told()}")
        worker = _Worker(ours, fork_server.PID.unpack(answer)[0])
        try:
            ready, result = worker.receive(START_SECONDS)
        except TaskLostError as e:
            raise WorkerError("A worker process ended before it was ready.") from e
        if not ready:
            raise WorkerError(f"A worker process cannot get ready:\n{result}")
        return worker

    def alive(self) -> bool:
        return self._process.poll() is None

    def _told(self) -> str:
        self._said.seek(0)
        return "\n" + self._said.read().decode("utf-8", "replace")[-4000:]


def _fork(kind: _Kind) -> _Worker:
    """Forks a new worker, from a new fork server if the first one was killed."""
    try:
        return _fork_server(kind).fork()
    except WorkerError:
        return _fork_server(kind).fork()


_fork_servers: dict[_Kind, _ForkServer] = {}
_fork_servers_lock = threading.Lock()


def _fork_server(kind: _Kind) -> _ForkServer:
    """Returns the fork server for workers of a kind, a new one if it was killed."""
    with _fork_servers_lock:
        if kind not in _fork_servers or not _fork_servers[kind].alive():
            _fork_servers[kind] = _ForkServer(kind)
        return _fork_servers[kind]
