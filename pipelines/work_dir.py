"""Manages the work directory of a run and checks where it may publish.

A run works there until it publishes. This module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipelines import contract as contracts
from pipelines import storage
from pipelines.core.errors import BusyError, ConfigError
from pipelines.core.files import directory_lock
from pipelines.options import config_fields

_log = logging.getLogger(__name__)

LISTED = "listed"  # the file that notes the number of inputs
VALUE_RANGE = "value_range.json"  # of deep pixels, if it is found from the images
AFFINE = "affine.json"  # (scale, offset), as in the transform graph
TARGETS = "targets.json"  # mean and deviation of the numbers that are to be predicted, as in the transform graph
REPLACED = "replaced.json"  # contracts of datasets whose files publishing removes or moves: see job/results/withdraw.py
STAGED = "written"  # the directory with an empty file for each train shard that this run has staged
# A rerun must not find these files, since their number differs from run to run.
_NOT_KEPT = (
    "rejects", "duplicates", "similar", "unused", "straddling", "like", "transform", "tft", "beside", "plan.json",
    LISTED, AFFINE, TARGETS, VALUE_RANGE, STAGED,
)  # fmt: skip
_RUN = {"config.yaml", "versions.json"}  # of a training run, which has a contract.json too


@dataclasses.dataclass(frozen=True)
class Work:
    """Locates the files of a run that are not published yet.

    They are in one directory below the output, whose name is DIRECTORY.
    """

    root: str
    run: str = ""  # id of the run that owns it: see `check_owner`

    DIRECTORY = ".shardmill"

    def path(self, *parts: str) -> str:
        return storage.join(self.root, *parts)


def check_output(out: str, source: str) -> None:
    """Raises ConfigError for an output that cannot be used.

    It is a file, holds something other than a dataset, such as a training run, or lies in the input.
    """
    if not storage.is_remote(out) and not storage.is_remote(source) and os.path.isdir(source):
        real_out, real_in = os.path.realpath(out), os.path.realpath(source)
        if os.path.commonpath([real_out, real_in]) == real_in:
            raise ConfigError(f"--output {out!r} lies in the input {source!r}: its files would be inputs next time.")
    if not storage.is_remote(out) and os.path.lexists(out) and not os.path.isdir(out):
        raise ConfigError(f"--output {out!r} is a file. Name a folder.")
    present = storage.children(out)
    if set(present) >= _RUN:
        raise ConfigError(f"--output {out!r} holds a training run. Name another folder.")
    if present and not {contracts.FILE_NAME, Work.DIRECTORY} & set(present):
        raise ConfigError(
            f"--output {out!r} is not empty and holds no Shardmill dataset. Name a new folder, or empty this one."
        )


@contextlib.contextmanager
def locked(output: str) -> Iterator[None]:
    """Keeps a second run out of a local output directory, as a context.

    The directory is made if it does not exist. The lock ends with the process. Nothing is made or locked in an object
    store.

    Raises:
      BusyError: another run, also of the trainer, is writing there.
    """
    if storage.is_remote(output):  # a store has no locks: of two runs the later one publishes, see `check_owner`
        yield
        return
    storage.make_directory(output)
    with directory_lock.held(output):
        yield


def open_work(
    output: str, digest: str, settings: Mapping[str, Any], decisive: Collection[str], versions: Mapping[str, str]
) -> Work:
    """Opens the work directory: a new one, or that of an interrupted run.

    An interrupted run with the same digest of options and the same versions is resumed, and its shards are kept.

    Args:
      digest: identifies the options that the shards depend on.
      settings: all options by name, as values that JSON can hold.
      decisive: names of the options that the shards depend on.
      versions: versions of the code and the libraries that the shards depend on, by name.
    """
    present = storage.children(output)
    work = Work(storage.join(output, Work.DIRECTORY), uuid.uuid4().hex)
    note = work.path("run.json")
    settings = json.loads(json.dumps(settings))  # in the form in which they are read back
    if Work.DIRECTORY in present:
        before = _earlier(note)
        if before.get("config_digest") == digest and before.get("versions") == versions:
            _log.info("Continues an unfinished run of the same options: it keeps what is done and still fits.")
            for name in _NOT_KEPT:
                storage.remove(work.path(name))
        else:
            options = _differing(before.get("settings"), settings, decisive)
            others = [*options, *_other_versions(before.get("versions"), versions)]
            had = "had other options or versions" if others else "cannot be resumed"
            differing = ", ".join(others) or "its note is damaged or of another version"
            _log.info("Starts over: the unfinished run in %s %s (%s).", output, had, differing)
            storage.remove_children(work.root, [name for name in storage.children(work.root) if name != REPLACED])
    storage.make_directory(work.root)
    noted = {"config_digest": digest, "settings": settings, "versions": dict(versions), "run": work.run}
    storage.write_text(note, json.dumps(noted))
    return work


def check_owner(work: Work) -> None:
    """Raises BusyError where another run has begun in the work directory since.

    This can happen where nothing can be locked.
    """
    if _earlier(work.path("run.json")).get("run") != work.run:
        raise BusyError(
            f"Another run has begun in {work.root!r} after this one, so this one publishes nothing. Let only one run "
            "at a time write there."
        )


def _earlier(note: str) -> dict[str, Any]:
    try:
        earlier = json.loads(storage.read_text(note))
    except (OSError, ValueError):
        return {}
    return earlier if isinstance(earlier, dict) else {}


def _differing(before: Any, now: Mapping[str, Any], decisive: Collection[str]) -> list[str]:
    """Returns the options that the shards depend on and that had another value before.

    Each is a text with the earlier value, such as "--size [64, 64]".
    """
    if not isinstance(before, dict):
        return []
    names = [name for name in now if name in decisive and before.get(name) != now[name]]
    return [f"{config_fields.flag(name)} {json.dumps(before.get(name))}" for name in names]


def _other_versions(before: Any, now: Mapping[str, str]) -> list[str]:
    """Returns the versions that were others before, such as "numpy 2.3.1, not 2.4.0"."""
    if not isinstance(before, dict):
        return []
    return [f"{name} {before.get(name)}, not {version}" for name, version in now.items() if before.get(name) != version]
