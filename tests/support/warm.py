"""Starts Python processes as forks of one that has imported TensorFlow, Keras and the trainer.

A new interpreter imports them for five seconds of CPU before a test's program begins. The process that is forked has
one thread of Python and has executed no operation of TensorFlow, so a fork is as good as new. What is about the start
itself (options of Python, notices of libraries, imports) is tested with `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import os
import pickle
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
MODULES = ("trainer.doctor.program.child", "trainer.training.train", "trainer.evaluation.evaluate")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NUMBER = struct.Struct("<i")
COLLECTED = 50_000, 10, 10  # of gc.set_threshold: seldom, because a training makes much and little of it is garbage
OPTIMIZED = "SHARDMILL_GRAPPLER"  # variable: 1 has the graphs of all tests optimized, as those of every command are
SET = "WARM_SET"  # variable of a fork: JSON of what its modules' attributes are set to, before the program begins


class Popen:
    """Does what this project uses of subprocess.Popen, for a program given as `[python, -c, CODE, ...]` or `-m`."""

    def __init__(
        self,
        command: Sequence[object],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: object = None,
        stderr: object = None,
        start_new_session: bool = False,
    ) -> None:
        arguments = [str(part) for part in command]
        while arguments[1] == "-P":  # the folder of the process is on no path of a fork
            del arguments[1]
        self.returncode: int | None = None
        own, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            null = stack.enter_context(open(os.devnull, "r+b"))
            read = 0 if stdin is None else null.fileno()
            out = 1 if stdout is None else stdout.fileno()  # type: ignore[attr-defined]
            err = 2 if stderr is None else out if stderr == STDOUT else stderr.fileno()  # type: ignore[attr-defined]
            stack.enter_context(theirs)
            request = pickle.dumps((arguments[1:], os.fspath(cwd or os.getcwd()), dict(env or os.environ)))
            with _asking:
                socket.send_fds(_server(), [NUMBER.pack(len(request))], [theirs.fileno(), read, out, err])
                _server().sendall(request)
        del start_new_session  # each has one
        self._status = own
        self.pid = NUMBER.unpack(own.recv(NUMBER.size, socket.MSG_WAITALL))[0]

    def poll(self) -> int | None:
        """Returns the exit status, or None while the process lives."""
        return self._receive(socket.MSG_DONTWAIT)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end and returns the exit status."""
        end = None if timeout is None else time.monotonic() + timeout
        while end is not None and self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a fork", timeout or 0)
            time.sleep(0.02)
        status = self._receive(0)
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _receive(self, flags: int) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(BlockingIOError):
                self.returncode = NUMBER.unpack(self._status.recv(NUMBER.size, flags))[0]
                self._status.close()
        return self.returncode


def run(
    command: Sequence[object],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Does as subprocess.run with capture_output and text."""
    import tempfile

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = Popen(command, cwd=cwd, env=env, stdin=DEVNULL, stdout=out, stderr=err)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as e:
            process.send_signal(signal.SIGABRT)  # it writes the stacks of its threads
            process.wait(20)
            err.seek(0)
            raise AssertionError(f"After {timeout} s it had not ended:\n{err.read().decode('utf-8', 'replace')}") from e
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return subprocess.CompletedProcess(list(command), status, *texts)


_asking = threading.Lock()


@functools.cache
def _server() -> socket.socket:
    """Starts the process that is forked; it ends when this one does."""
    own, theirs = socket.socketpair()
    environment = os.environ | {"MPLBACKEND": "Agg", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    code = f"import sys; sys.path[:0] = [{ROOT!r}]; from tests.support import warm; warm.serve({theirs.fileno()})"
    with theirs:
        subprocess.Popen(
            [sys.executable, "-P", "-c", code], env=environment, pass_fds=[theirs.fileno()], start_new_session=True
        )
    return own


def leave_graphs_as_they_are() -> None:
    """Has TensorFlow run the graphs of this process without Grappler, which costs more than tiny networks gain.

    It took an eighth of the time of the tests. Programs that tests start in a new interpreter keep it.
    """
    if os.environ.get(OPTIMIZED) != "1":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def serve(descriptor: int) -> None:
    """Forks a process for each request, until the other end is closed."""
    gc.disable()  # imports make no garbage
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    gc.set_threshold(*COLLECTED)
    gc.enable()
    leave_graphs_as_they_are()
    if threading.active_count() > 1:
        raise RuntimeError("An import has started a thread: a fork of this process could hang.")
    control = socket.socket(fileno=descriptor)
    while True:
        with contextlib.suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        message, descriptors, _, _ = socket.recv_fds(control, NUMBER.size, 4)
        if not message:
            os._exit(0)
        request = b""
        while len(request) < NUMBER.unpack(message)[0]:
            request += control.recv(NUMBER.unpack(message)[0] - len(request))
        if not os.fork():
            control.close()
            _watch(*descriptors, *pickle.loads(request))
        for number in descriptors:
            os.close(number)


def _watch(
    status: int, stdin: int, stdout: int, stderr: int, arguments: list[str], cwd: str, env: dict[str, str]
) -> None:
    """Starts the program in a fork and tells its process id and, when it has ended, its exit status."""
    process = os.fork()
    if not process:
        os.close(status)
        os.setsid()
        for number, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(number, target)
        faulthandler.enable(2)
        os._exit(_execute(arguments, cwd, env))
    for number in (stdin, stdout, stderr):
        os.close(number)
    with socket.socket(fileno=status) as told:
        told.sendall(NUMBER.pack(process))
        ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        with contextlib.suppress(OSError):
            told.sendall(NUMBER.pack(ended))
    os._exit(0)


def _execute(arguments: list[str], cwd: str, env: dict[str, str]) -> int:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    for name, value in json.loads(os.environ.pop(SET, "{}")).items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    status = 0
    try:
        option, given, *rest = arguments
        if option == "-c":
            sys.argv = ["-c", *rest]
            module = type(sys)("__main__")
            sys.modules["__main__"] = module
            exec(compile(given, "<string>", "exec"), module.__dict__)
        else:
            sys.path.insert(0, cwd)
            sys.argv = [given, *rest]
            runpy.run_module(given, run_name="__main__", alter_sys=True)
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, as the end of an interpreter does
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return status
