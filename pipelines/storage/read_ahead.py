"""Reads remote files before their turn, several at once.

A worker decodes one image after the other. Without this it would wait for the store before each of them. Nothing
depends on it: what was not read ahead, for whatever reason, is read when it is needed.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Iterable

from pipelines.core.files import members
from pipelines.core.files.urls import is_remote
from pipelines.storage import remote

AT_ONCE = 8  # files that are held or under way; the clients of the stores keep ten connections
LARGEST = 8 << 20  # bytes; a larger file is read when it is needed
MOST = AT_ONCE * (LARGEST + (1 << 20))  # bytes of memory that this takes, with the stacks of its threads
STACK = 1 << 20  # bytes of a thread: a worker's memory is limited, and the system's usual stack counts 8 MB
_asked: dict[str, concurrent.futures.Future[bytes]] = {}
_next: collections.deque[str] = collections.deque()


def begin(uris: Iterable[str]) -> None:
    """Begins to read the remote ones of these files, to be taken in this order.

    What is left of an earlier call is forgotten. Members of containers are left out: a container is read once.
    """
    while _asked:
        _asked.popitem()[1].cancel()
    _next.clear()
    away = [uri for uri in uris if is_remote(uri) and members.parse(uri) is None]
    if len(away) > 1:
        _next.extend(away)
        _ask()


def take(uri: str) -> bytes | None:
    """Returns the bytes of a file that was read ahead, once; it waits for them.

    It is None if the file was not read ahead, is larger than LARGEST, or could not be read.
    """
    asked = _asked.pop(uri, None)
    if asked is None:
        return None
    try:
        data = asked.result()
    except Exception:  # the caller reads it again, and tells why that is not possible
        return None
    finally:
        _ask()
    return data if len(data) <= LARGEST else None


def _ask() -> None:
    """Requests files until AT_ONCE are held or under way."""
    with contextlib.suppress(RuntimeError, MemoryError):  # no thread can be started
        while _next and len(_asked) < AT_ONCE:
            uri = _next.popleft()
            _asked[uri] = _threads().submit(remote.read, uri, LARGEST + 1)


@functools.cache
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    threading.stack_size(STACK)
    return concurrent.futures.ThreadPoolExecutor(AT_ONCE, "read-ahead")
