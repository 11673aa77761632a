"""Reads the paths of a table's rows: where they begin, and where they lead."""

from __future__ import annotations

import os
import posixpath

from pipelines import storage
from pipelines.inputs import path_patterns
from pipelines.inputs.rules import IMAGE_SUFFIXES, TableSpec
from pipelines.inputs.tables import id_lists, several_tables


def folder(path: str, spec: TableSpec) -> str:
    """Returns the folder in which the relative paths of a manifest begin."""
    if spec.image_root:
        return spec.image_root.rstrip("/") or "/"
    if id_lists.is_set(path, spec):
        return id_lists.image_folder(path)
    return path_patterns.base(path) if several_tables.is_pattern(path) else posixpath.dirname(path)


def written(path: str, spec: TableSpec) -> str:
    """Returns the path that a cell means, as the options say.

    Example:
      >>> written("C:\\\\data\\\\7", TableSpec(windows_paths=True, path_prefix=(("C:/data", "photos"),), suffix=".jpg"))
      'photos/7.jpg'
    """
    if not path:
        return path
    if spec.windows_paths:
        path = path.replace("\\", "/")
    for old, new in spec.path_prefix:
        old = old.replace("\\", "/") if spec.windows_paths else old
        rest = path.removeprefix(old)
        if path.startswith(old) and (not rest or old.endswith("/") or rest.startswith("/")):
            path = new.rstrip("/") + "/" + rest.lstrip("/") if rest else new
            break
    return path if path.lower().endswith(spec.suffix.lower()) else path + spec.suffix


def resolve(path: str, base: str) -> str:
    """Returns the path of an image whose row has this path.

    Args:
      base: The folder in which relative paths begin.
    """
    if storage.is_remote(path) or os.path.isabs(path):
        return path
    if storage.is_remote(base):
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(rest, path))}"
    return posixpath.normpath(posixpath.join(base, path))


def key(uri: str, base: str) -> str:
    """Returns the path relative to the folder `base`, if it is below that folder.

    The spelling of the path in the row makes no difference.
    """
    if storage.is_remote(uri):
        return uri.removeprefix(base.rstrip("/") + "/")
    return posixpath.relpath(uri, base or ".")


class Names:
    """Finds images by their names, in all folders below one.

    Hidden folders are left out. Links to folders are not followed.
    """

    def __init__(self, base: str) -> None:
        self._whole: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for folder, folders, files in os.walk(base or "."):
            folders[:] = sorted(name for name in folders if name[0] != ".")
            for name in sorted(files):
                stem, ending = os.path.splitext(name)
                path = posixpath.normpath(posixpath.join(folder, name))
                self._whole.setdefault(name, []).append(path)
                if ending.lower() in IMAGE_SUFFIXES:
                    self._stems.setdefault(stem, []).append(path)

    def find(self, path: str) -> list[str]:
        """Returns the files that the path of a row may mean.

        They have its name, with the folders of the path above them if there are any such. A name without the ending of
        an image means files with one.
        """
        name = posixpath.basename(path)
        found = self._whole.get(name) or self._stems.get(name) or []
        exact = [file for file in found if f"/{os.path.splitext(file)[0]}".endswith(f"/{os.path.splitext(path)[0]}")]
        return exact or found


class Folders:
    """Finds where symbolic links lead.

    It resolves each folder once, and not again for each of its files.
    """

    def __init__(self, base: str) -> None:
        self._real: dict[str, str] = {}
        self._remote = f"{base.rstrip('/')}/" if storage.is_remote(base) else ""
        self._base = "" if self._remote else os.path.realpath(base or ".")

    def left_by(self, uri: str) -> bool:
        """Tells whether a path leads out of the folder, links followed."""
        if self._remote or storage.is_remote(uri):
            return not self._remote or not uri.startswith(self._remote)
        folder, name = os.path.split(uri)
        if name in ("", ".", ".."):
            real = os.path.realpath(uri)
        else:
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder)
            real = os.path.join(self._real[folder], name)
            if os.path.islink(real):
                real = os.path.realpath(real)
        return os.path.commonpath([real, self._base]) != self._base
