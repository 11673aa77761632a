"""A process that imports TensorFlow once and forks the workers that touch untrusted bytes; see `pool.py`.

A fork of a process that has only imported costs milliseconds and shares its memory; a new interpreter costs the import
again. It is safe here because this process runs one thread and never an operation: TensorFlow starts its threads with
the first one, in the workers. It has a session of its own, so that an interrupt from the terminal reaches the program,
which then decides, and not its workers.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import signal
import socket
import struct
import sys
import traceback

from pipelines.storage import remote

PID = struct.Struct("<i")
FORK = b"f"


def serve(control_fd: int, module: str) -> None:
    """Forks a worker for every socket that arrives, answering with its process id, until the other end closes.

    `module` names the module whose functions are the tasks.
    """
    control = socket.socket(fileno=control_fd)
    # Half of TensorFlow's import time is Keras, which no worker needs; it does without where there is none.
    sys.modules["keras"] = sys.modules["tf_keras"] = None  # type: ignore[assignment]
    gc.disable()  # nothing of what an import makes is garbage
    tasks = importlib.import_module(module)
    remote.preload()
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is gone: nobody waits for it
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, len(FORK), 1)
        if not message:  # the program has ended, however it did: no worker outlives it
            os.killpg(0, signal.SIGKILL)
        (descriptor,) = descriptors
        process = os.fork()
        if not process:
            control.close()
            _work(descriptor, tasks)
            os._exit(0)
        os.close(descriptor)
        control.sendall(PID.pack(process))


def _work(descriptor: int, tasks: object) -> None:
    """Does what arrives, (function of `tasks`, shared arguments, items), and answers (True, result) or (False, trace)
    for each item in order."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # libraries' remarks on damaged images: those are rejects
    connection = socket.socket(fileno=descriptor)
    requests = connection.makefile("rb")
    name, shared, items = "warm_up", (), [()]
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
            name, shared, items = pickle.load(requests)  # noqa: S301 (of our own process)
        except (EOFError, OSError):
            return
