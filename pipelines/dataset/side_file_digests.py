"""Binds the files next to the shards to the contract.

`contract.files` holds the SHA-256 of each of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping

from pipelines import contract as contracts
from pipelines import storage
from pipelines.contract import Contract, graph_check, ledger
from pipelines.core.errors import GraphError
from pipelines.dataset import sidecars
from pipelines.work_dir import Work

# Directories of the dataset that hold only files that the pipeline writes.
_OURS = ("ledger", "rejects", "stats", contracts.TRANSFORM_DIR, "transformed_metadata")


def bind(contract: Contract, work: Work, texts: Mapping[str, str]) -> Contract:
    """Returns the contract with the digests of the files next to the shards.

    Args:
      contract: The contract without these digests.
      work: The working directory of the run, which holds the other files.
      texts: Maps the path of each side file to its text, as it will be written.
    """
    files = {name: hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest() for name, text in texts.items()}
    found = {name: work.path("transform", *name.split("/")) for name in storage.files_below(work.path("transform"))}
    found |= {f"rejects/{name}": work.path(name) for name in (ledger.REJECTED, ledger.UNUSED)}
    for split in contract.all_splits.values():
        for shard in split.shards:
            found[f"ledger/{shard.file}.jsonl"] = work.path("ledger", f"{shard.file}.jsonl")
    digests = storage.each(storage.sha256, found.values(), work.root)
    files |= dict(zip(found, digests, strict=True))
    return dataclasses.replace(contract, files=files)


def problems(directory: str, contract: Contract) -> Iterator[str]:
    """Yields a sentence for each side file that is not as it was written.

    Such a file is missing, changed or foreign, or it contradicts the contract.
    """
    derived = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sidecars.tfds_files(contract).items()}
    graph = f"{contracts.TRANSFORM_DIR}/saved_model.pb"
    # A contract without digests names no files; then only the files of `derived` and the graph are checked. The content
    # of the files of `derived` follows from the contract.
    for name in sorted({**contract.files, **derived, graph: ""}):
        try:
            digest = storage.sha256(storage.join(directory, *name.split("/")))
        except FileNotFoundError:
            yield f"{name} is missing."
            continue
        except OSError as e:
            yield f"{name} cannot be read: {e}."
            continue
        if digest != derived.get(name, digest):
            yield f"{name} disagrees with the contract."
        elif name == graph and digest != contract.transform_digest:
            yield "The transform graph is not the one that the contract names."
        elif digest != contract.files.get(name, digest):
            yield f"{name} has another content than when it was written (SHA-256 differs)."
        elif name == graph:
            yield from _graph_problems(storage.join(directory, *name.split("/")))
    if contract.files:
        yield from _foreign(directory, contract)


def _graph_problems(path: str) -> Iterator[str]:
    """Yields a sentence if the graph has something that no reader runs."""
    with storage.reading(path) as file:
        content = file.read(graph_check.MAX_GRAPH_BYTES)
    try:
        graph_check.check(content, path)
    except GraphError as e:
        yield str(e)


def _foreign(directory: str, contract: Contract) -> Iterator[str]:
    for folder in _OURS:
        for name in storage.files_below(storage.join(directory, folder)):
            if f"{folder}/{name}" not in contract.files and not name.rpartition("/")[2].startswith("."):
                yield f"{folder}/{name} is not in the contract: a stale or foreign file. Remove it."
