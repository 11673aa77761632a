"""Worker processes for everything that touches an input's bytes, with a deadline that is enforced from outside.

Decoders are C code fed with files from anywhere: one that hangs, crashes or eats all memory costs one image and one
worker, which is replaced, and never the run. Decoding in processes also leaves this one's interpreter lock to Beam.
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

from pipelines.config import PrepareConfig
from pipelines.storage import remote
from pipelines.workers import fork_server

START_SECONDS = 300.0  # for importing TensorFlow on a busy machine
AHEAD = 12  # requests a worker has before it answers: what it does not wait for
BUFFER = 1 << 18  # bytes of answers read at a time
# Of a worker: the module of its tasks, and what its environment has besides this process's.
_Kind = tuple[str, tuple[tuple[str, str], ...]]
CRASHED = "The process that decoded it ended: it crashed or ran out of memory."
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Shards must not depend on the processor, and preparing must not take a GPU's memory from a trainer beside it.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",
    # One thread a worker: there is a worker for every core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class WorkerError(RuntimeError):
    """Workers cannot be started, or a task failed in a way that no input should make it fail: a defect."""


class TaskLostError(Exception):
    """The worker was killed at its deadline or died. `reason` is a short stable word, the message a sentence."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class _Request:
    """One thing to do, and where its outcome goes."""

    task: str
    shared: tuple[Any, ...]
    own: tuple[Any, ...]
    deadline: float | None
    outcome: Future[Any]
    last: bool  # of those submitted together


class Workers:
    """`count` worker processes, each with a thread here that keeps it busy. Usable from many threads.

    `module` names the module whose functions are the tasks; `environment` is what theirs has besides this process's.
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
        """Has one worker do `tasks.TASK(*item, *shared)` for each item, in order; returns their futures.

        Args:
          deadline: seconds that one item may take before its worker is killed; None: as long as it lives.

        Returns:
          Futures that raise TaskLostError ("timeout" or "crashed": another worker does the rest of the items), or
          WorkerError (the task raised, or no worker can be started).
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
        """Sends requests ahead of their answers, so that the worker never waits for this process to wake up."""
        worker: _Worker | None = None
        sent: collections.deque[_Request] = collections.deque()
        answered: list[tuple[_Request, Any]] = []  # told together: waking who waits costs more than an answer
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
            except Exception as e:  # no worker can be started: whoever waits is told
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
    """This end of `fork_server.work`: requests out, answers in, both pickled, in order."""

    def __init__(self, connection: socket.socket, process: int):
        self._connection, self._process = connection, process
        self._answers = connection.makefile("rb", BUFFER)

    def send(self, requests: Sequence[_Request]) -> None:
        """Sends requests of one task. Raises TaskLostError where the worker has gone."""
        message = (requests[0].task, requests[0].shared, [request.own for request in requests])
        try:
            self._connection.settimeout(START_SECONDS)
            self._connection.sendall(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        except OSError as e:
            raise self._lost("crashed", CRASHED) from e

    def receive(self, deadline: float | None) -> tuple[bool, Any]:
        """The next answer. Raises TaskLostError, after killing the worker, if it does not come in time or at all."""
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
        with contextlib.suppress(ProcessLookupError):  # it has died already
            os.kill(self._process, signal.SIGKILL)
        return TaskLostError(reason, message)


def decoders(config: PrepareConfig) -> Workers:
    """The workers of this process for the inputs of a configuration."""
    return shared(usual_count(config.workers), "decoders", config.input)


def shared(count: int, role: str, *paths: str) -> Workers:
    """The workers of this process for one role, started at the first call and ended with the process.

    Args:
      paths: some that they will read or write, whose stores they load at their start.
    """
    return _shared(count, role, tuple(remote.environment(*paths).items()))


@functools.cache
def _shared(count: int, role: str, environment: tuple[tuple[str, str], ...]) -> Workers:
    del role  # part of the cache's key
    return Workers(count, environment=environment)


def usual_count(configured: int) -> int:
    """Workers to use: as configured, or one for every core that this process may use."""
    return configured or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class _Zygote:
    """The other end of `fork_server.serve`."""

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
        """A new worker that is ready for requests."""
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
    """A new worker; asks a second zygote where the first was killed meanwhile."""
    try:
        return _zygote(kind).fork()
    except WorkerError:
        return _zygote(kind).fork()


_zygotes: dict[_Kind, _Zygote] = {}
_zygotes_lock = threading.Lock()


def _zygote(kind: _Kind) -> _Zygote:
    """The zygote of this process for workers of a kind; a new one where it has been killed."""
    with _zygotes_lock:
        if kind not in _zygotes or not _zygotes[kind].alive():
            _zygotes[kind] = _Zygote(kind)
        return _zygotes[kind]
