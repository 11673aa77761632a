"""Says which resource of the system is short.

They are processes, open files, memory, and room for the output and for temporary files.

Libraries report a shortage in many ways, and native ones often by ending the process. So `check` looks before anything
heavy begins, and `told` explains an error afterwards.
"""

from __future__ import annotations

import errno
import re
import resource
import tempfile
import threading

from pipelines.core import machine
from pipelines.core.errors import ShortageError
from pipelines.core.text import first_line

ROOM = 1 << 20  # bytes of temporary files; what libraries leave there during a run is far less
# Threads that a program starts, measured with one and with two cores: 26 and 33 of `train`, 26 of `prepare` with two.
FIXED_THREADS, THREADS_PER_CORE = 19, 7
# Limits below which TensorFlow cannot be loaded. One small run of `train` takes 3.1 GiB of addresses, 0.8 of them data.
LEAST = {
    "ulimit -v": (resource.RLIMIT_AS, 3 << 30),
    "ulimit -d": (resource.RLIMIT_DATA, 512 << 20),
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROCESSES = (
    "The system lets this user start no more processes and threads. End other programs, or raise the limit (ulimit -u, "
    "in a container its limit of PIDs; ulimit -v and -d where the memory is limited)"
)
_FILES = "This process may open no more files. Raise the limit (ulimit -n)"
_MEMORY = (
    "There is not enough memory. End other programs, raise the limit (ulimit -v, ulimit -d, in a container its limit), "
    "or use fewer --workers while preparing and a smaller --batch-size while training"
)
_ROOM = (
    "A disk is full, or your quota of it. Free some where the output is, and run the same command again; nothing that "
    "was complete before is lost"
)
_BY_NUMBER = dict.fromkeys(_FULL, _ROOM) | {
    errno.EAGAIN: _PROCESSES,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
}
# Lines of errors, also of those in the text of another error: Beam and workers pass on a traceback as text.
_BY_LINE = (
    (r"RuntimeError: can't (?:start|allocate lock|allocate) .*|BlockingIOError: .*", _PROCESSES),
    (r"OSError: \[Errno (?:28|122)\] .*|.*; (?:No space left on device|Disk quota exceeded).*", _ROOM),
    (r"OSError: \[Errno (?:23|24)\] .*|.*Too many open files.*", _FILES),
    (r"MemoryError(?:: .*)?|OSError: \[Errno 12\] .*|.*ResourceExhaustedError: .*OOM when allocating.*", _MEMORY),
    (r".*std::bad_alloc.*|ImportError: .*failed to map segment.*", _MEMORY),
)


def check() -> None:
    """Checks that the system gives what a program needs. It takes some milliseconds.

    Raises:
      ShortageError: Memory is limited to too little, there is no room for temporary files, or too few threads can be
        started.
    """
    for name, (kind, least) in LEAST.items():
        given = resource.getrlimit(kind)[0]
        if given != resource.RLIM_INFINITY and given < least:
            raise ShortageError(
                f"This program may take {given >> 20} MiB of memory and needs at least {least >> 20}. Raise the limit "
                f"({name})."
            )
    _check_temporary()
    _check_threads(FIXED_THREADS + THREADS_PER_CORE * machine.cores())


def told(error: BaseException) -> str:
    """Returns a sentence if an error tells of a shortage, and "" otherwise.

    Without room for temporary files TensorFlow cannot compile Python functions, and its errors speak of other causes.
    So any error counts while there is no room.
    """
    if isinstance(error, OSError):
        return _with_cause(_BY_NUMBER.get(error.errno or 0, ""), error)
    text = f"{type(error).__name__}: {error}"
    for pattern, sentence in _BY_LINE:
        if re.search(rf"^(?:[\w.]+: )*(?:{pattern})", text, re.MULTILINE):
            return _with_cause(sentence, error)
    try:
        _check_temporary()
    except ShortageError as e:
        return f"{str(e).rstrip('.')} ({first_line(error)})."
    except MemoryError:
        return _with_cause(_MEMORY, error)
    return ""


def _with_cause(sentence: str, error: BaseException) -> str:
    return sentence and f"{sentence} ({first_line(error) or type(error).__name__})."


def _check_temporary() -> None:
    """Raises ShortageError if temporary files cannot be written."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        raise ShortageError(
            "No folder for temporary files can be written. Name one in the variable TMPDIR, and let its file system "
            "have room."
        ) from None
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(bytes(ROOM))
    except OSError as e:
        if e.errno in _FULL:
            raise ShortageError(
                f"The folder for temporary files, {folder!r}, has no room. Free some, or name another folder in the "
                "variable TMPDIR."
            ) from e


def _check_threads(wanted: int) -> None:
    """Raises ShortageError if so many more threads cannot be started."""
    over, started = threading.Event(), []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise ShortageError(
            f"This program needs some {wanted} threads, and the system lets it start {len(started)}. End other "
            "programs, or raise the limit of processes (ulimit -u, in a container its limit of PIDs)."
        ) from None
    finally:
        over.set()
        for thread in started:
            thread.join()
