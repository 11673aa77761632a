"""Finds the images without a label in the folders that the user names.

Such images are a split of their own. In a table they are the rows whose label is empty; `tables.manifest` reads those.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from pipelines.core.elements import UNLABELLED, Source
from pipelines.core.errors import LayoutError
from pipelines.core.text import listed, plural, utf8_text
from pipelines.inputs.layouts import folder_tree
from pipelines.inputs.layouts.folder_tree import Folder
from pipelines.inputs.rules import ROWS, InputSpec
from pipelines.tasks.kinds import KINDS

NAMED = 8  # folders that an error names


def source(key: str, uri: str, spec: InputSpec) -> Source:
    """Returns an image without a label."""
    return Source(key, uri, KINDS[spec.table.task].unknown(len(spec.table.targets)), UNLABELLED, "", 1.0)


def is_below(key: str, folders: Iterable[str]) -> bool:
    """Tells whether a path below the input is in one of these folders."""
    return any(folder == "." or key.startswith(f"{folder}/") for folder in _plain(folders))


def detach(tree: Folder, spec: InputSpec) -> list[Folder]:
    """Takes the folders of the images without a label out of a tree.

    Returns:
      The folders.

    Raises:
      LayoutError: There is no such folder with images.
    """
    return [_detached(tree, path, spec) for path in _plain(spec.unlabelled)]


def told(folders: Sequence[Folder]) -> Iterator[str]:
    """Yields a sentence about the folders that were taken out."""
    for folder in folders:
        yield (
            f"Takes the images of {utf8_text(folder.path) or 'the input'!r} as the split {UNLABELLED}, without a "
            f"label: {plural(folder.total, 'image')}."
        )


def _plain(folders: Iterable[str]) -> list[str]:
    return [posixpath.normpath(folder.strip("/") or ".") for folder in folders if folder != ROWS]


def _detached(tree: Folder, path: str, spec: InputSpec) -> Folder:
    folder = folder_tree.detached(tree, "" if path == "." else path)
    if folder is None:
        have = listed((repr(f.path) for f in tree.tree() if f.path and f.images), NAMED) or "none"
        raise LayoutError(
            f"--unlabelled names {path!r}, and there is no such folder with images below {spec.path!r}. Write its path "
            f"below the input. The folders with images are: {have}."
        )
    return folder
