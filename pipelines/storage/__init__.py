"""Reads and writes local files and objects of gs:// and s3:// in one way.

`files` has the functions, which this package re-exports (`storage.read_text(path)`); `local` reads untrusted local
files, and `member_reader` members of zips and tars; `remote` and `object_stores` access object stores, `read_ahead`
reads several of their files at once;
`external_sort` sorts more items than memory holds. Begin in `files`.
"""

from pipelines.core.errors import StorageError
from pipelines.core.files.urls import is_remote
from pipelines.storage.files import (
    CHUNK,
    children,
    copy,
    each,
    exists,
    files_below,
    is_empty,
    join,
    make_directory,
    move,
    move_tree,
    put_tree,
    read_input,
    read_text,
    reading,
    reading_text,
    remove,
    remove_children,
    remove_empty,
    remove_files,
    sha256,
    write_text,
    writing,
)

__all__ = [
    "CHUNK",
    "StorageError",
    "children",
    "copy",
    "each",
    "exists",
    "files_below",
    "is_empty",
    "is_remote",
    "join",
    "make_directory",
    "move",
    "move_tree",
    "put_tree",
    "read_input",
    "read_text",
    "reading",
    "reading_text",
    "remove",
    "remove_children",
    "remove_empty",
    "remove_files",
    "sha256",
    "write_text",
    "writing",
]
