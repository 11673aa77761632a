"""Manages the worker processes that do all work on an input's bytes.

Decoders are C code that gets files from anywhere. One that hangs, crashes or uses all memory costs one image and one
worker, which is replaced, and never the run. The deadline of a task is enforced from outside the worker. Decoding in
other processes also leaves the interpreter lock of this process to Beam.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pipelines.core import machine
from pipelines.storage import remote
from pipelines.workers import worker_process
from pipelines.workers.worker_process import TaskLostError, WorkerError, WorkerProcess

TASKS = "pipelines.job.worker_tasks"  # the module of the tasks of `prepare`
IDLE_SECONDS = 60.0  # after which the process of a worker without requests is ended; forking another takes milliseconds
OF_NOW = ("XDG_CACHE_HOME",)  # variables that workers get as they are at the call, and not as at the first one
AHEAD = 12  # requests sent to a worker before it answers, so that it need not wait for them


class Outcome:
    """Holds what a call returned or raised, as soon as that is known.

    It has the methods of `concurrent.futures.Future` that are needed here, and costs a tenth of it: there are two for
    each image.
    """

    __slots__ = ("_error", "_pending", "_result")

    def __init__(self) -> None:
        self._pending = threading.Lock()  # held until the outcome is known
        self._pending.acquire()
        self._result: Any = None
        self._error: Exception | None = None

    def set_result(self, result: Any) -> None:
        """Sets what the call returned."""
        self._result = result
        self._pending.release()

    def set_exception(self, error: Exception) -> None:
        """Sets what the call raised."""
        self._error = error
        self._pending.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits, and returns whether the outcome is known.

        Args:
          timeout: seconds to wait at most; None: no limit.
        """
        known = self._pending.acquire(timeout=-1 if timeout is None else timeout)
        if known:
            self._pending.release()
        return known

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Waits as `wait` does, and returns what the call raised; None if it returned.

        Raises:
          TimeoutError: the outcome is not known by then.
        """
        if not self.wait(timeout):
            raise TimeoutError
        return self._error

    def result(self, timeout: float | None = None) -> Any:
        """Waits, and returns what the call returned, or raises what it raised.

        The arguments and errors are those of `exception`.
        """
        if (error := self.exception(timeout)) is not None:
            raise error
        return self._result


class _Request(NamedTuple):
    """Describes one call of a task, and what receives its outcome.

    again: tells of a result whether the call is made a second time; None: it is not, even if its worker is lost.
    """

    task: str
    shared: tuple[Any, ...]
    own: tuple[Any, ...]
    deadline: float | None
    outcome: Outcome
    again: Callable[[Any], bool] | None
    last: bool  # whether it is the last of those submitted together


class Workers:
    """Manages `count` worker processes, each with a thread here that keeps it busy.

    It can be used from many threads.

    Args:
      module: the name of the module whose functions are the tasks.
      environment: variables of the workers in addition to those of this process.
      folder: the folder of their processes; "": that in which the first process of this program was started.
    """

    def __init__(
        self, count: int, module: str = TASKS, environment: tuple[tuple[str, str], ...] = (), folder: str = ""
    ) -> None:
        self.count = count
        self._kind = module, environment
        self._folder = folder
        self._held = 0  # bodies of `held` that run
        self._waiting: queue.SimpleQueue[list[_Request]] = queue.SimpleQueue()
        for i in range(count):
            threading.Thread(target=self._keep_busy, name=f"worker-{i}", daemon=True).start()

    def submit(
        self,
        task: str,
        shared: tuple[Any, ...],
        items: Iterable[tuple[Any, ...]],
        deadline: float | None = None,
        again: Callable[[Any], bool] | None = None,
    ) -> list[Outcome]:
        """Submits the calls `tasks.TASK(*item, *shared)`, one per item, to one worker.

        The worker does them in order. It keeps `shared` for the next requests with equal ones, so that a value of many
        bytes that all requests need belongs there.

        Args:
          deadline: seconds that one item may take before its worker is killed; None: no limit while the worker lives.
          again: tells whether the cause of a result may have passed soon. Such an item is tried once more, after those
            that wait now, and so is an item whose worker was lost; that one gets another process. The second outcome
            counts. None: nothing is tried twice.

        Returns:
          An outcome per item. It raises TaskLostError ("timeout" or "crashed": another worker does the rest of the
          items), or WorkerError (the task raised, or no worker can be started).
        """
        listed = list(items)
        requests = [
            _Request(task, shared, item, deadline, Outcome(), again, number == len(listed))
            for number, item in enumerate(listed, 1)
        ]
        if requests:
            self._waiting.put(requests)
        return [request.outcome for request in requests]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps processes without requests as long as the body runs.

        It is for tasks that leave something in their process for a later one.
        """
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def _keep_busy(self) -> None:
        """Sends requests ahead of their answers.

        The worker then never waits until this process wakes up.
        """
        worker: WorkerProcess | None = None
        sent: collections.deque[_Request] = collections.deque()
        answered: list[tuple[_Request, Any]] = []  # passed on together: waking threads costs more than an answer
        while True:
            try:
                worker = worker or worker_process.start(self._kind, self._folder)
                while len(sent) < AHEAD:
                    try:
                        requests = self._waiting.get(block=not sent, timeout=IDLE_SECONDS)
                    except queue.Empty:
                        if sent:
                            break
                        if self._held:
                            continue
                        worker.end()
                        requests = self._waiting.get()
                    idle = not sent
                    sent += requests
                    if _send(worker, requests):
                        continue
                    if not idle:
                        break  # it has ended: its earlier answers are received first
                    # It was ended while it had nothing to do, or killed, as by the system where memory is short: no
                    # item is to blame. The new one is tried once, so that this ends.
                    worker = worker_process.start(self._kind, self._folder)
                    _send(worker, requests)
                request = sent[0]
                done, result = worker.receive(request.deadline)
                if done and request.again is not None and request.again(result):
                    self._try_again(request)
                else:
                    answered.append((request, (done, result)))
                if sent.popleft().last:
                    _tell(answered)
            except TaskLostError as e:
                worker = None
                _tell(answered)
                if sent and sent[0].again is not None:
                    self._try_again(sent.popleft())
                elif sent:
                    sent.popleft().outcome.set_exception(e)
                for _, again in itertools.groupby(sent, key=lambda r: (r.task, id(r.shared))):
                    self._waiting.put(list(again))
                sent.clear()
            except Exception as e:  # no worker can be started: all waiting outcomes raise it
                worker = None
                _tell(answered)
                for request in sent or self._waiting.get():
                    request.outcome.set_exception(e)
                sent.clear()

    def _try_again(self, request: _Request) -> None:
        """Puts a request behind all that wait, for the second and last time."""
        self._waiting.put([request._replace(again=None, last=True)])


def _send(worker: WorkerProcess, requests: Sequence[_Request]) -> bool:
    """Sends requests of one task. Returns False if the worker has ended."""
    first = requests[0]
    return worker.send(first.task, first.shared, [request.own for request in requests])


def _tell(answered: list[tuple[_Request, Any]]) -> None:
    for request, (done, result) in answered:
        if done:
            request.outcome.set_result(result)
        else:
            text = f"Task {request.task!r} failed in a worker process:\n{result}"
            request.outcome.set_exception(WorkerError(text))
    answered.clear()


def decoders(configured: int, source: str) -> Workers:
    """Returns the workers of this process that decode the images of an input.

    Args:
      configured: their number; 0: one for every core.
    """
    return shared(usual_count(configured), "decoders", source)


def shared(count: int, role: str, *paths: str, module: str = TASKS) -> Workers:
    """Returns the workers of this process for one role.

    They are started at the first call. They stay in the folder of their start, so a program that has changed its
    folder since, such as a notebook, gets other ones: paths may be relative. Those that get no requests give their
    memory back.

    Args:
      paths: paths that they will read or write; they load the clients of these stores when they start.
      module: the name of the module whose functions are the tasks.
    """
    here = ""
    with contextlib.suppress(OSError):  # the folder is gone
        here = os.getcwd()
    environment = {name: os.environ[name] for name in OF_NOW if name in os.environ} | remote.environment(*paths)
    return _shared(count, role, module, tuple(environment.items()), here)


@functools.cache
def _shared(count: int, role: str, module: str, environment: tuple[tuple[str, str], ...], folder: str) -> Workers:
    del role  # it is part of the cache's key only
    return Workers(count, module, environment, folder)


def usual_count(configured: int) -> int:
    """Returns the number of workers to use.

    It is the configured number, or one for every core that this process may use.
    """
    return configured or machine.cores()
