"""Reads and writes files in object stores.

The module finds the store of a path, passes the stores' options to every process, and turns errors into sentences. A
store's client is made at its first use and kept as long as the process runs. Options are Beam's own (--s3_endpoint_url,
--impersonate_service_account and so on); they apply in the program, in its worker processes and on the machines of an
engine.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

from pipelines.core.errors import StoreError
from pipelines.core.files import members
from pipelines.core.files.urls import (
    is_remote as is_remote,  # `pipelines.config` and the room's front take it from here
)
from pipelines.core.files.urls import scheme_of
from pipelines.core.text import first_line
from pipelines.storage import object_stores
from pipelines.storage.object_stores import FORBIDDEN, MISSING, NO_BUCKET, STORES, Store

SETTINGS, PRELOAD = "SHARDMILL_STORE_OPTIONS", "SHARDMILL_STORES"  # environment variables of worker processes
SPOOLED = 8 << 20  # bytes: a larger file is held in the temporary folder instead of memory
_PACKAGES = {"gs": "google-cloud-storage", "s3": "boto3"}
_MODULES = {"gs": "apache_beam.io.gcp.gcsio", "s3": "apache_beam.io.aws.clients.s3.boto3_client"}
_kept: dict[tuple[str, str], Store] = {}
_lock = threading.Lock()
_settings: str | None = None


def use(flags: Sequence[str]) -> None:
    """Sets the Beam flags with which this process reaches object stores.

    Processes that it starts from now on use them, too.
    """
    global _settings
    _settings = json.dumps(list(flags)) if flags else ""


def settings() -> str:
    """Returns Beam's options for object stores as JSON, "" if there are none.

    With them, another process reaches the stores as this one does.
    """
    if _settings is not None:
        return _settings
    if SETTINGS in os.environ:
        return os.environ[SETTINGS]
    beam = sys.modules.get("apache_beam.io.filesystems")
    given = beam.FileSystems._pipeline_options if beam else None  # the job's options, on an engine's machine
    return json.dumps(given.get_all_options(drop_default=True), default=str) if given else ""


def environment(*paths: str) -> dict[str, str]:
    """Returns the environment variables of a worker process.

    They contain the options, and the stores of these paths, whose modules the process loads at its start.
    """
    schemes = sorted({scheme_of(path) for path in paths if is_remote(path)} & set(STORES))
    return {SETTINGS: settings(), PRELOAD: ",".join(schemes)}


def preload() -> None:
    """Imports the modules of the stores that this process was started for.

    It reports no failure, because the first use of the store does.
    """
    for scheme in filter(None, os.environ.get(PRELOAD, "").split(",")):
        with contextlib.suppress(ImportError):
            importlib.import_module(_MODULES[scheme])
            importlib.import_module("apache_beam.options.pipeline_options")


def connect(path: str) -> None:
    """Makes the client of the path's store in advance, if that is possible.

    The client takes seconds and memory that should not be attributed to any image. A member of a container on this
    machine needs none.
    """
    if members.parse(path) is not None:
        return
    with contextlib.suppress(OSError):
        _store_of(path)


def read(path: str, limit: int) -> bytes:
    """Returns the first `limit` bytes of a file.

    Raises:
      FileNotFoundError: There is no such file. The functions below raise it, too.
      StoreError: Any other failure. The functions below raise it, too.
    """
    with _store(path, "read") as store:
        return store.read(path, limit)


@contextlib.contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """Opens a copy of a file, in memory or in the temporary folder."""
    with tempfile.SpooledTemporaryFile(SPOOLED) as file:
        with _store(path, "read") as store:
            store.fetch(path, file)
        file.seek(0)
        yield file


@contextlib.contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """Opens a temporary file, which is uploaded to `path` when the body ends.

    The temporary file is in memory or in the temporary folder. After an error in the body, nothing is uploaded. The
    object appears completely or not at all: stores show no object before its last byte has arrived.
    """
    with tempfile.SpooledTemporaryFile(SPOOLED) as file:
        yield file
        size = file.tell()
        file.seek(0)
        with _store(path, "written") as store:
            store.put(path, file, size)


def children(folder: str) -> Iterator[str]:
    """Yields the names directly below a folder, including those of folders."""
    for name in _listed(folder, "", True):
        yield name.rstrip("/")


def below(folder: str, beginning: str = "") -> Iterator[str]:
    """Yields the paths of all files below a folder, at any depth, in no order.

    The paths are relative to the folder. They come from one paged listing.

    Args:
      folder: The folder.
      beginning: Limits the result to paths that begin with this text.
    """
    for name in _listed(folder, beginning, False):
        if not name.endswith("/"):  # some tools make such an object for a folder
            yield name


def _listed(folder: str, beginning: str, flat: bool) -> Iterator[str]:
    prefix = folder.rstrip("/") + "/"
    start = len(object_stores.parts(prefix)[1])
    with _store(folder, "listed") as store:
        for key in store.names(prefix + beginning, flat):
            if key[start:]:
                yield key[start:]


def exists(path: str) -> bool:
    with _store(path, "read") as store:
        return store.exists(path)


def copy(source: str, target: str) -> None:
    """Copies a file within its store."""
    with _store(source, "copied") as store:
        store.copy(source, target)


def delete(paths: Sequence[str]) -> None:
    if paths:
        with _store(paths[0], "deleted") as store:
            store.delete(paths)


def remove(path: str) -> None:
    """Deletes a file, and everything below a folder of that name."""
    folder, _, name = path.rstrip("/").rpartition("/")
    delete([f"{folder}/{key}" for key in below(folder, name) if key == name or key.startswith(f"{name}/")])


def check(path: str) -> None:
    """Checks that a path belongs to a store that we support. Imports nothing heavy.

    Raises:
      StoreError: The scheme is not supported, or the path does not name a bucket.
    """
    scheme, bucket = scheme_of(path), object_stores.parts(path)[0]
    if scheme not in STORES:
        raise StoreError(
            f"{path!r}: {scheme}:// cannot be read or written. Local paths, {' and '.join(f'{s}://' for s in STORES)} "
            "can: copy the files there, or mount what holds them."
        )
    if not bucket or any(c in bucket for c in "*?["):
        raise StoreError(f"{path!r} should name a bucket: {scheme}://BUCKET/PATH.")


@contextlib.contextmanager
def _store(path: str, doing: str) -> Iterator[Store]:
    store = _store_of(path)
    try:
        yield store
    except (StoreError, MemoryError):
        raise
    except Exception as e:  # each client raises its own exception types
        raise _told(store, path, doing, e) from e


def _store_of(path: str) -> Store:
    check(path)
    key = scheme_of(path), settings()
    with _lock:
        if key not in _kept:
            _kept[key] = _connected(path)
        return _kept[key]


def _connected(path: str) -> Store:
    scheme = scheme_of(path)
    try:
        importlib.import_module("boto3" if scheme == "s3" else "google.cloud.storage")
        return STORES[scheme](_options())
    except ImportError as e:
        raise StoreError(
            f"{path} needs the package {_PACKAGES[scheme]}, which is not installed ({e}). Install it: pip install "
            f"{_PACKAGES[scheme]}"
        ) from e
    except Exception as e:  # each client raises its own exception types
        raise StoreError(f"{path} cannot be reached: {_reason(e)}. {STORES[scheme].remedy}") from e


def _options() -> Any:
    from apache_beam.options.pipeline_options import PipelineOptions

    given = json.loads(settings() or "[]")
    return PipelineOptions.from_dictionary(given) if isinstance(given, dict) else PipelineOptions(given)


def _told(store: Store, path: str, doing: str, error: Exception) -> OSError:
    kind = store.kind(error)
    if kind == MISSING and doing in ("listed", "written"):  # these need no existing object
        kind = NO_BUCKET
    if kind == MISSING:
        return FileNotFoundError(errno.ENOENT, "There is no such file", path)
    if kind == NO_BUCKET:
        bucket = f"{scheme_of(path)}://{object_stores.parts(path)[0]}"
        return StoreError(f"{path} cannot be {doing}: there is no bucket {bucket}. Make it first, or name another.")
    remedy = f" {store.remedy}" if kind == FORBIDDEN else ""
    return StoreError(f"{path} cannot be {doing}: {_reason(error)}.{remedy}")


def _reason(error: BaseException) -> str:
    return first_line(error, limit=400).rstrip(".")  # clients print the complete request before the reason
