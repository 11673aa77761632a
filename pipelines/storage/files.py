"""One small layer over local files and object stores: the only place that knows which of the two a path is.

Local paths use the operating system: Beam's local file system omits names with a backslash and hangs on a FIFO.
`remote.py` has the others, and imports Apache Beam only when there are some. What needs a file and not only its bytes,
such as TensorFlow's own writers, gets a local one that is copied.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import io
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TypeVar

from pipelines.core.errors import StorageError
from pipelines.storage import local, remote
from pipelines.storage.remote import is_remote

CHUNK = 1 << 20
AT_ONCE = 8  # requests to a store: its client keeps ten connections
T = TypeVar("T")
R = TypeVar("R")


def join(base: str, *parts: str) -> str:
    """The path of `parts` below `base`, with / on remote systems."""
    return "/".join([base.rstrip("/"), *parts]) if is_remote(base) else os.path.join(base, *parts)


def read_input(uri: str, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
      StorageError: missing, unreadable, not a regular file, or too large; told before reading where that is possible.
    """
    if is_remote(uri):
        try:
            data = remote.read(uri, limit + 1)
        except FileNotFoundError as e:
            raise StorageError("missing", "There is no such file.") from e
        except OSError as e:
            raise StorageError("unreadable", str(e)) from e
    else:
        data = local.read(uri, limit)
    if len(data) > limit:
        raise StorageError("too-large", f"More than {limit} bytes (--max-file-bytes).")
    return data


@contextlib.contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole or not at all: after an error there is nothing, or what was."""
    if is_remote(path):
        with remote.writing(path) as file:
            yield file
        return
    # One of its own: an engine may try a shard again while an attempt it gave up is still at it, here or elsewhere.
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        remove(temporary)
        raise
    os.replace(temporary, path)


def write_text(path: str, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with writing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """A binary file to read; OSError where it is missing, unreadable, or of a kind that one could wait for for ever."""
    if is_remote(path):
        with remote.reading(path) as file:
            yield file
        return
    if os.path.lexists(path) and not os.path.isfile(path):
        raise OSError("not a regular file")
    with open(path, "rb") as file:
        yield file


@contextlib.contextmanager
def reading_text(path: str) -> Iterator[IO[str]]:
    """As `reading`, UTF-8 text with its line ends as they are."""
    with reading(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        yield text


def read_text(path: str) -> str:
    """UTF-8 text; OSError where there is no such file."""
    with reading(path) as file:
        return file.read().decode("utf-8")


def exists(path: str) -> bool:
    return remote.exists(path) if is_remote(path) else os.path.lexists(path)


def move(pairs: Sequence[tuple[str, str]]) -> None:
    """Moves files (source, target), each over what there is: atomic, one by one, on a local file system.

    In an object store all are copied before the first is deleted.
    """
    if pairs and is_remote(pairs[0][0]):
        list(each(lambda pair: remote.copy(*pair), pairs, pairs[0][0]))
        remote.delete([source for source, _ in pairs])
        return
    for source, target in pairs:
        os.replace(source, target)


def copy(source: str, target: str) -> None:
    """Copies a file; a local one becomes a hard link where the file system can, which costs nothing."""
    if is_remote(source):
        remote.copy(source, target)
        return
    make_directory(os.path.dirname(target) or ".")
    remove(target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def move_tree(source: str, target: str) -> None:
    """Moves a directory with all that is in it, or a file."""
    if is_remote(source):
        names = [f"/{name}" for name in remote.below(source)] or [""]
        move([(source + name, target + name) for name in names])
    else:
        os.replace(source, target)


def put_tree(folder: str, target: str) -> None:
    """Copies a local directory with all that is in it to a remote place."""
    for name in files_below(folder):
        with open(os.path.join(folder, name), "rb") as source, writing(join(target, name)) as file:
            shutil.copyfileobj(source, file, CHUNK)


def make_directory(path: str) -> None:
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Removes a file or a tree; nothing happens where there is none."""
    if is_remote(path):
        remote.remove(path)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def remove_children(path: str, names: Sequence[str]) -> None:
    """Removes these files and trees directly below a directory, with one listing where it is remote."""
    if is_remote(path):
        wanted = set(names)
        remote.delete([join(path, name) for name in remote.below(path) if name.partition("/")[0] in wanted])
        return
    for name in names:
        remove(join(path, name))


def children(path: str) -> list[str]:
    """The names directly below a directory, sorted; none where it does not exist."""
    if is_remote(path):
        return sorted(remote.children(path))
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def is_empty(path: str) -> bool:
    """Whether there is no file in a directory at any depth; of a remote one the first page is asked for."""
    return next(remote.below(path), None) is None if is_remote(path) else not files_below(path)


def files_below(path: str, beginning: str = "") -> list[str]:
    """The paths, relative to a directory and with /, of all files in it at any depth, sorted; none where it is not.

    Args:
      beginning: of the paths that are wanted, in a remote place.
    """
    if is_remote(path):
        return sorted(remote.below(path, beginning))
    walk = ((os.path.relpath(folder, path), names) for folder, _, names in os.walk(path))
    return sorted(os.path.normpath(os.path.join(folder, name)) for folder, names in walk for name in names)


def each(function: Callable[[T], R], items: Iterable[T], where: str) -> Iterator[R]:
    """function(item) of each item, in order; where `where` is remote, many at once: a request is mostly waiting."""
    if not is_remote(where):
        yield from map(function, items)
        return
    left = iter(items)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(itertools.islice(left, 8 * AT_ONCE)):
            yield from pool.map(function, some)


class Hashed:
    """What is written to a file, with its SHA-256 and its number of bytes: what is far away need not be read again."""

    def __init__(self, file: IO[bytes]):
        self._file, self._digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def digest_and_size(path: str) -> tuple[str, int]:
    """SHA-256 in hex and the number of bytes, read in chunks; OSError as `reading`."""
    digest, size = hashlib.sha256(), 0
    with reading(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
