"""Removes an earlier dataset from an output directory, and nothing else.

A contract names the files of its dataset. It may be damaged or a stranger's, and other files may lie beside: so a file
is removed only where its name is one that `prepare` gives, the contract names it, and it is a regular file of the size
that the contract says. All else is left alone and told.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from pipelines import contract as contracts
from pipelines import storage, work_dir
from pipelines.contract import Contract, ledger
from pipelines.contract.folds import FILE_NAME as FOLDS
from pipelines.core.errors import ConfigError
from pipelines.core.text import listed
from pipelines.work_dir import Work

_log = logging.getLogger(__name__)

DIRECTORIES = ("stats", contracts.TRANSFORM_DIR, "transformed_metadata", "ledger", "rejects")
FILES = ("dataset_info.json", "features.json", "label.labels.txt", "schema.pbtxt", "report.html")
# Only some datasets have these; the second is in place of label.labels.txt, if records have targets.
OPTIONAL = (FOLDS, "target.labels.txt")
Sizes = dict[str, set[int]]  # path of a file -> the sizes that it may have; no size: any


def withdraw(out: str, work: Work, new: Contract) -> None:
    """Removes the earlier dataset from `out`, to make room for the one of `new`.

    It removes the contract first, so that the directory is visibly incomplete from then on. A note in the work
    directory keeps what was begun: if the run ends here, the next one knows what to remove, whatever its options are.

    Raises:
      ConfigError: something that is no file has the name of a new file. Nothing was removed.
    """
    own, kept = files_of(new), set(files_of(new))
    _check_free(out, kept)
    note = work.path(work_dir.REPLACED)
    texts = dict.fromkeys([new.to_json(), *_noted(note)])
    with contextlib.suppress(contracts.ContractError):
        texts[contracts.load(out, storage.reading_text).to_json()] = None
    for contract in _contracts(texts):
        for name, sizes in files_of(contract).items():
            own.setdefault(name, set()).update(sizes)
    storage.write_text(note, json.dumps(list(texts)))
    storage.remove(storage.join(out, contracts.FILE_NAME))
    left = sorted(set(_remove(out, own)) - kept)  # a new file takes the place of one of its name
    if left:
        _log.warning("Left alone in %s, because the earlier dataset has no such files: %s.", out, listed(left, 5))


def files_of(contract: Contract) -> Sizes:
    """Returns the files of a dataset that `prepare` may have written, by its contract.

    Names that `prepare` does not give are left out: a contract can name anything.
    """
    found: Sizes = {}
    for split, part in contract.all_splits.items():
        pattern = re.compile(rf"{re.escape(contract.name)}-{re.escape(split)}\.tfrecord-\d{{5,}}-of-\d{{5,}}")
        found |= {shard.file: {shard.bytes} for shard in part.shards if pattern.fullmatch(shard.file)}
    beside = contract.files or _usual(contract, found)
    return found | {name: set() for name in beside if _is_beside(name)}


def _usual(contract: Contract, shards: Iterable[str]) -> list[str]:
    """Returns the names of side files for an old contract, which has no `files`."""
    return [
        *FILES,
        "stats/summary.json",
        *(f"stats/{split}.pbtxt" for split in contract.all_splits),
        *(f"rejects/{name}" for name in (ledger.REJECTED, ledger.UNUSED)),
        *(f"ledger/{shard}.jsonl" for shard in shards),
        *(f"{contracts.TRANSFORM_DIR}/{name}" for name in ("saved_model.pb", "fingerprint.pb")),
        *(f"{contracts.TRANSFORM_DIR}/variables/variables.{end}" for end in ("index", "data-00000-of-00001")),
        f"{contracts.TRANSFORM_DIR}/assets/labels",
        *(f"transformed_metadata/{name}" for name in ("schema.pbtxt", "asset_map")),
    ]


def _is_beside(name: str) -> bool:
    """Tells whether `prepare` writes files of this name beside the shards.

    Contracts are checked when they are read: no name in them leads out of the dataset.
    """
    return name in (*FILES, *OPTIONAL) or ("/" in name and name.partition("/")[0] in DIRECTORIES)


def _noted(note: str) -> list[str]:
    """Returns the contracts that runs which ended while publishing have left."""
    try:
        found = json.loads(storage.read_text(note))
    except (OSError, ValueError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _contracts(texts: Iterable[str]) -> Iterator[Contract]:
    for text in texts:
        try:
            yield contracts.from_json(text)
        except contracts.ContractError:
            continue


def _check_free(out: str, new: Iterable[str]) -> None:
    """Raises ConfigError where a new file could not be moved to its name.

    An object store has no folders, so nothing is in the way there.
    """
    if storage.is_remote(out):
        return
    for name in (contracts.FILE_NAME, *new):
        path = os.path.join(out, *name.split("/"))
        if os.path.isdir(path) and not os.path.islink(path):
            raise ConfigError(f"{path!r} should be a file of the dataset and is a folder. Move it away, and run again.")
    folders = {name[:end] for name in new for end, letter in enumerate(name) if letter == "/"}
    for name in sorted({*DIRECTORIES, *folders}):
        path = os.path.join(out, *name.split("/"))
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
            raise ConfigError(f"{path!r} should be a folder of the dataset and is none. Move it away, and run again.")


def _remove(out: str, own: Mapping[str, set[int]]) -> list[str]:
    """Removes the files of `own` that are there, and directories that become empty.

    Returns:
      The files that stay though they look like those of a dataset, by their folder or their name.
    """
    present = storage.children(out)
    names = [name for name in present if name not in DIRECTORIES]
    for folder in set(DIRECTORIES) & set(present):
        names += [f"{folder}/{name}" for name in storage.files_below(storage.join(out, folder))]
    ours = {name for name in names if name in own and _is_as_said(out, name, own[name])}
    storage.remove_files([storage.join(out, *name.split("/")) for name in sorted(ours)])
    for folder in DIRECTORIES:
        storage.remove_empty(storage.join(out, folder))
    return [name for name in names if name not in ours and (name in own or "/" in name or ".tfrecord-" in name)]


def _is_as_said(out: str, name: str, sizes: set[int]) -> bool:
    """Tells whether a file is a regular one, of one of these sizes if there are any."""
    if storage.is_remote(out):
        return True  # a store would have to be asked for the size of each
    status = os.lstat(os.path.join(out, *name.split("/")))
    return stat.S_ISREG(status.st_mode) and (not sizes or status.st_size in sizes)
