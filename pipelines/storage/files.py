"""Provides one layer over local files and object stores.

It is the only module that knows which of the two a path belongs to. Local paths use the operating system, because
Beam's local file system omits names with a backslash and blocks on a FIFO. `remote.py` handles the other paths, and
imports Apache Beam only when there are some. Code that needs a local file and not only its bytes, such as TensorFlow's
own writers, writes a local file, which is then copied.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TypeVar

from pipelines.core.errors import StorageError
from pipelines.core.files import members
from pipelines.core.files.urls import is_remote
from pipelines.core.hashing import Hashed
from pipelines.storage import local, member_reader, read_ahead, remote

CHUNK = 1 << 20
AT_ONCE = 8  # requests to a store at the same time; its client keeps ten connections
T = TypeVar("T")
R = TypeVar("R")


def join(base: str, *parts: str) -> str:
    """Joins `parts` to `base`: with / if it is remote, else as the system does."""
    return "/".join([base.rstrip("/"), *parts]) if is_remote(base) else os.path.join(base, *parts)


def read_input(uri: str, limit: int, inside: str = "") -> bytes:
    """Reads a regular file, or a member of a container, of at most `limit` bytes.

    Args:
      inside: The local folder that a local file has to lie in, links followed; "" permits any. A container is the input
        itself, so it may lie anywhere.

    Raises:
      StorageError: The file is missing, unreadable, not a regular file, outside or too large. Where possible, the error
        is raised before the file is read.
    """
    member = members.parse(uri)
    if member is not None:
        return member_reader.read(member, limit)
    if is_remote(uri):
        try:
            ahead = read_ahead.take(uri)
            data = remote.read(uri, limit + 1) if ahead is None else ahead
        except FileNotFoundError as e:
            raise StorageError("missing", "There is no such file.") from e
        except OSError as e:
            raise StorageError("unreadable", str(e)) from e
    else:
        data = local.read(uri, limit, inside)
    if len(data) > limit:
        raise StorageError("too-large", f"More than {limit} bytes (--max-file-bytes).")
    return data


@contextlib.contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """Opens a binary file that appears under `path` completely or not at all.

    After an error, `path` is as it was: missing, or with its earlier content.
    """
    if is_remote(path):
        with remote.writing(path) as file:
            yield file
        return
    # The name is unique: an engine may retry a shard while an attempt that it gave up still writes, here or elsewhere.
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
    """Writes UTF-8 text, completely or not at all."""
    with writing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Opens a binary file to read.

    Raises:
      OSError: The file is missing, unreadable, or of a kind that could block for ever, such as a FIFO.
    """
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
    """Opens a UTF-8 text file to read, with its line ends as they are.

    Raises:
      OSError: As `reading`.
    """
    with reading(path) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        yield text


def read_text(path: str) -> str:
    """Reads a UTF-8 text file.

    Raises:
      OSError: As `reading`.
    """
    with reading(path) as file:
        return file.read().decode("utf-8")


def exists(path: str) -> bool:
    return remote.exists(path) if is_remote(path) else os.path.lexists(path)


def move(pairs: Sequence[tuple[str, str]]) -> None:
    """Moves files and replaces existing targets.

    On a local file system, each move is atomic. In an object store, all files are copied before the first one is
    deleted.

    Args:
      pairs: (source, target) of each file.
    """
    if pairs and is_remote(pairs[0][0]):
        list(each(lambda pair: remote.copy(*pair), pairs, pairs[0][0]))
        remote.delete([source for source, _ in pairs])
        return
    for source, target in pairs:
        os.replace(source, target)


def copy(source: str, target: str) -> None:
    """Copies a file.

    A local copy is a hard link where the file system supports it, which costs nothing.
    """
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
    """Moves a file, or a directory with everything in it.

    A directory that exists under the new name keeps its other files.
    """
    if is_remote(source):
        names = [f"/{name}" for name in remote.below(source)] or [""]
        move([(source + name, target + name) for name in names])
    elif os.path.isdir(source) and os.path.isdir(target):
        for name in sorted(os.listdir(source)):
            move_tree(os.path.join(source, name), os.path.join(target, name))
        os.rmdir(source)
    else:
        os.replace(source, target)


def put_tree(folder: str, target: str) -> None:
    """Copies a local directory with everything in it to another directory."""
    for name in files_below(folder):
        with open(os.path.join(folder, name), "rb") as source, writing(join(target, name)) as file:
            shutil.copyfileobj(source, file, CHUNK)


def make_directory(path: str) -> None:
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Removes a file or a tree; does nothing if there is none."""
    if is_remote(path):
        remote.remove(path)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def remove_children(path: str, names: Sequence[str]) -> None:
    """Removes these files and trees directly below a directory.

    A remote directory is listed only once.
    """
    if is_remote(path):
        wanted = set(names)
        remote.delete([join(path, name) for name in remote.below(path) if name.partition("/")[0] in wanted])
        return
    for name in names:
        remove(join(path, name))


def remove_files(paths: Sequence[str]) -> None:
    """Removes files, which have to be there and in one store."""
    if paths and is_remote(paths[0]):
        remote.delete(paths)
        return
    for path in paths:
        os.unlink(path)


def remove_empty(folder: str) -> None:
    """Removes a directory and those below it, as far as they hold no file.

    A store has no empty directories.
    """
    if not is_remote(folder):
        for below, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(below)


def children(path: str) -> list[str]:
    """Returns the names directly below a directory, sorted.

    The result is empty if the directory does not exist.
    """
    if is_remote(path):
        return sorted(remote.children(path))
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def is_empty(path: str) -> bool:
    """Tells whether a directory contains no file at any depth.

    Only the first page of a remote directory's listing is requested.
    """
    return next(remote.below(path), None) is None if is_remote(path) else not files_below(path)


def files_below(path: str, beginning: str = "") -> list[str]:
    """Returns the paths of all files below a directory, at any depth, sorted.

    The paths are relative to the directory, with /. The result is empty if the directory does not exist.

    Args:
      path: The directory.
      beginning: Limits the result to paths that begin with this text; only for a remote directory.
    """
    if is_remote(path):
        return sorted(remote.below(path, beginning))
    walk = ((os.path.relpath(folder, path), names) for folder, _, names in os.walk(path))
    return sorted(os.path.normpath(os.path.join(folder, name)) for folder, names in walk for name in names)


def each(function: Callable[[T], R], items: Iterable[T], where: str) -> Iterator[R]:
    """Yields function(item) of each item, in order.

    If the path `where` is remote, many calls run at the same time, because a request mostly waits.
    """
    if not is_remote(where):
        yield from map(function, items)
        return
    left = iter(items)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(itertools.islice(left, 8 * AT_ONCE)):
            yield from pool.map(function, some)


def sha256(path: str) -> str:
    """Returns the SHA-256 of a file, in hex. The file is read in chunks.

    Raises:
      OSError: As `reading`.
    """
    with reading(path) as file:
        hashed = Hashed(file)
        while hashed.read(CHUNK):
            pass
    return hashed.sha256.hexdigest()
