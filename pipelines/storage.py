"""One small layer over local files and Beam's FileSystems: the only place that knows which of the two a path is.

Local paths use the operating system: Beam's local file system omits names with a backslash and hangs on a FIFO.
Apache Beam is imported only for remote paths.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import itertools
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

from pipelines import casing

CHUNK = 1 << 20
AT_ONCE = 32  # requests to a remote system
T = TypeVar("T")
R = TypeVar("R")


class StorageError(OSError):
    """A file that cannot be used as an input; `reason` is a short stable word."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def is_remote(path: str) -> bool:
    return "://" in path


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
            with _beam().open(uri, compression_type=_uncompressed()) as file:
                data = file.read(limit + 1)
        except Exception as e:  # each remote client raises its own kinds
            raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    else:
        data = _read_local(uri, limit)
    if len(data) > limit:
        raise StorageError("too-large", f"More than {limit} bytes (--max-file-bytes).")
    return data


def _read_local(path: str, limit: int) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to returns instead of waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as e:
        near = casing.nearby(path)
        hint = f" There is {near!r}: the case of its name differs, or its Unicode form." if near else ""
        raise StorageError("missing", f"There is no such file.{hint}") from e
    except (OSError, ValueError) as e:
        raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError("not-a-file", "Not a regular file.")
        if status.st_size > limit:
            raise StorageError("too-large", f"{status.st_size} bytes; the limit is {limit} (--max-file-bytes).")
        data = _read_to_end(descriptor, status.st_size)
        if len(data) != status.st_size:
            raise StorageError("changed", "The file's size changed while it was read.")
        return data
    except StorageError:
        raise
    except OSError as e:
        raise StorageError("unreadable", f"{type(e).__name__}: {e}") from e
    finally:
        os.close(descriptor)


def _read_to_end(descriptor: int, expected: int) -> bytes:
    """What is left of a file, at most a byte more than expected: one call where the system reads it in one go."""
    data = os.read(descriptor, expected + 1)
    while len(data) <= expected and (more := os.read(descriptor, expected + 1 - len(data))):
        data += more
    return data


@contextlib.contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole or not at all: after an error there is nothing, or what was."""
    # One of its own: an engine may try a shard again while an attempt it gave up is still at it, here or elsewhere.
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"
    if is_remote(path):
        with _beam().create(temporary, compression_type=_uncompressed()) as file:
            yield file
    else:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            remove(temporary)
            raise
    rename(temporary, path)


def write_text(path: str, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with writing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def read_text(path: str) -> str:
    """UTF-8 text; OSError where there is no such file."""
    if is_remote(path):
        with _beam().open(path, compression_type=_uncompressed()) as file:
            return bytes(file.read()).decode("utf-8")
    with open(path, encoding="utf-8") as file:
        return file.read()


def exists(path: str) -> bool:
    return bool(_beam().exists(path)) if is_remote(path) else os.path.lexists(path)


def rename(source: str, target: str) -> None:
    """Moves a file over `target`: atomic on a local file system."""
    if is_remote(source):
        if _beam().exists(target):
            _beam().delete([target])
        _beam().rename([source], [target])
    else:
        os.replace(source, target)


def copy(source: str, target: str) -> None:
    """Copies a file; a local one becomes a hard link where the file system can, which costs nothing."""
    if is_remote(source):
        if _beam().exists(target):
            _beam().delete([target])
        _beam().copy([source], [target])
        return
    make_directory(os.path.dirname(target) or ".")
    remove(target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def move_tree(source: str, target: str) -> None:
    """Moves a directory with all that is in it."""
    if is_remote(source):
        _beam().rename([source], [target])
    else:
        os.replace(source, target)


def make_directory(path: str) -> None:
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)


def remove(path: str) -> None:
    """Removes a file or a tree; nothing happens where there is none."""
    if is_remote(path):
        if _beam().exists(path):
            _beam().delete([path])
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def children(path: str) -> list[str]:
    """The names directly below a directory, sorted; none where it does not exist."""
    if is_remote(path):
        found = _beam().match([path.rstrip("/") + "/*"])[0].metadata_list
        return sorted(m.path.rstrip("/").rpartition("/")[2] for m in found)
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def files_below(path: str) -> list[str]:
    """The paths, relative to a directory and with /, of all files in it at any depth, sorted; none where it is not."""
    if is_remote(path):
        found = [m.path for m in _beam().match([path.rstrip("/") + "/**"])[0].metadata_list]
        return sorted(f[len(path.rstrip("/")) + 1 :] for f in found if not f.endswith("/"))
    walk = ((os.path.relpath(folder, path), names) for folder, _, names in os.walk(path))
    return sorted(os.path.normpath(os.path.join(folder, name)) for folder, names in walk for name in names)


def reading(path: str) -> IO[bytes]:
    """A binary file to read; OSError where it is missing, unreadable, or of a kind that one could wait for for ever."""
    if is_remote(path):
        file: IO[bytes] = _beam().open(path, compression_type=_uncompressed())
        return file
    if os.path.lexists(path) and not os.path.isfile(path):
        raise OSError("not a regular file")
    return open(path, "rb")


def each(function: Callable[[T], R], items: Iterable[T], where: str) -> Iterator[R]:
    """function(item) of each item, in order; where `where` is remote, many at once: a request is mostly waiting."""
    if not is_remote(where):
        yield from map(function, items)
        return
    left = iter(items)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(itertools.islice(left, 8 * AT_ONCE)):
            yield from pool.map(function, some)


def digest_and_size(path: str) -> tuple[str, int]:
    """SHA-256 in hex and the number of bytes, read in chunks; OSError as `reading`."""
    digest, size = hashlib.sha256(), 0
    with reading(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _beam() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _uncompressed() -> Any:
    from apache_beam.io.filesystem import CompressionTypes

    return CompressionTypes.UNCOMPRESSED  # AUTO would unpack an input whose name ends in .gz
