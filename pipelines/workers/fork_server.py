"""Imports TensorFlow once and forks the workers that touch untrusted bytes.

`worker_process.py` starts this process. A fork of a process that has only imported modules takes milliseconds and
shares its memory; a new interpreter would import them again. Forking is safe here because this process has one thread
and never executes a TensorFlow operation: TensorFlow starts its threads with the first operation, in the workers. The
process has a session of its own, so that an interrupt from the terminal reaches the program and not its workers; the
program then decides.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from typing import NoReturn

from pipelines.storage import remote

PID = struct.Struct("<i")
FORK = b"f"
REMOVING_SECONDS = 10.0


def serve(control_fd: int, module: str, folder: str) -> None:
    """Forks a worker for every socket that arrives, and answers with its process id.

    A folder may arrive beside the socket: the worker goes there. When the other end closes, this process and its
    workers are killed.

    Args:
      control_fd: the descriptor of the socket on which the sockets arrive.
      module: the name of the module whose functions are the tasks.
      folder: the temporary folder of the workers, which is removed at the end.
    """
    control = socket.socket(fileno=control_fd)
    # Keras takes half of TensorFlow's import time, and no worker needs it. TensorFlow works where Keras is missing.
    sys.modules["keras"] = sys.modules["tf_keras"] = None  # type: ignore[assignment]
    gc.disable()  # imports make no garbage
    tasks = importlib.import_module(module)
    remote.preload()
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers disappear: nothing waits for them
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, len(FORK), 2)
        except OSError:
            message = b""
        if not message:  # the program has ended in some way
            _end(folder)
        process = os.fork()
        if not process:
            control.close()
            connection, *folders = descriptors
            for there in folders:
                os.fchdir(there)
                os.close(there)
            _work(connection, tasks)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            control.sendall(PID.pack(process))
        except OSError:  # the program ended after it had asked for this worker, as while this process imported
            _end(folder)


def _end(folder: str) -> NoReturn:
    """Kills this process and its workers, and then removes the temporary folder.

    No worker may outlive the program. The program may have been killed, and not have removed the folder. A process of
    another group removes it, because a worker that still lives could write into it meanwhile.
    """
    group = os.getpgrp()
    if os.fork():
        while True:
            signal.pause()
    os.setpgid(0, 0)
    os.killpg(group, signal.SIGKILL)
    end = time.monotonic() + REMOVING_SECONDS
    while os.path.isdir(folder) and time.monotonic() < end:  # a killed process ends its last system call first
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)
    os._exit(0)


def _work(descriptor: int, tasks: object) -> None:
    """Executes requests and answers each of their items in order.

    A request is (name of a function of `tasks`, shared arguments, items). The shared arguments are None where they are
    those of the request before. An answer is (True, result) or (False, trace). If `tasks` has a function `ahead`, it is
    called with the name and the items before the first of them.
    """
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # libraries print remarks on damaged images, which become rejects
    connection = socket.socket(fileno=descriptor)
    requests = connection.makefile("rb")
    prepare_for = getattr(tasks, "ahead", None)
    name = "warm_up"
    shared: tuple[object, ...] = ()
    items: list[tuple[object, ...]] = [()]
    while True:
        for item in items:
            try:
                answer = (True, getattr(tasks, name)(*item, *shared))
            except Exception:
                answer = (False, traceback.format_exc())
            try:
                connection.sendall(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
            except OSError:
                return
        try:
            name, new, items = pickle.load(requests)  # noqa: S301 (of our own process)
        except (EOFError, OSError):
            return
        shared = shared if new is None else new
        if prepare_for is not None:
            prepare_for(name, items)
