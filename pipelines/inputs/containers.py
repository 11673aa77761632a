"""Lists the members of a zip or a tar as the files of a folder are listed.

Nothing is unpacked. The names are those of strangers: they are compared and shown, and never used as paths.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.core.errors import LayoutError, SourceError
from pipelines.core.files import members
from pipelines.core.files.members import Member
from pipelines.inputs.walk import EMPTY, Problem

SUFFIXES = (".zip", ".tar")
OUTSIDE = "outside-input"
_ENCRYPTED, _UTF8 = 1, 0x800  # flags of a member of a zip
_WINDOWS = 0  # the system that made a member of a zip
_PACKINGS = {zipfile.ZIP_STORED: members.STORED, zipfile.ZIP_DEFLATED: members.DEFLATED}


class Entry(NamedTuple):
    """Describes a member of a container, or an empty folder in it.

    key: its path inside. uri: its address. problem: why it cannot be used, or None.
    """

    key: str
    uri: str
    problem: Problem | None


def is_container(path: str) -> bool:
    """Tells whether a path names a zip or a tar, and no folder."""
    return path.lower().endswith(SUFFIXES) and not os.path.isdir(path)


def entries(path: str) -> list[Entry]:
    """Returns the members of a container and its empty folders, by path.

    Of several members of one path the last is taken, as unpacking does.

    Raises:
      SourceError: It cannot be read.
      LayoutError: It is a zip that does not say in which encoding the names of its folders are.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a FIFO could block for ever
            raise SourceError(f"The container {path!r} is no regular file.")
        found = list(_of_zip(path) if path.lower().endswith(".zip") else _of_tar(path))
    except SourceError:
        raise
    except Exception as e:  # a stranger's file: its readers raise errors of many kinds
        raise SourceError(
            f"The container {path!r} cannot be read, so nobody knows which images it holds: {type(e).__name__}: {e}. "
            "Copy or make it again."
        ) from e
    files = [entry for entry in found if entry.problem is None or not entry.problem.folder]
    last = {entry.key: entry.uri for entry in files}
    listed = [
        _repeated(path, number, entry) if entry.problem is None and last[entry.key] != entry.uri else entry
        for number, entry in enumerate(files)
    ]
    filled = {key[: slash.start()] for key in last for slash in re.finditer("/", key)}
    folders = {entry.key: entry for entry in found if entry.problem is not None and entry.problem.folder}
    filled |= {key[: slash.start()] for key in folders for slash in re.finditer("/", key)}
    listed += [entry for key, entry in folders.items() if key not in filled]
    return sorted(listed, key=lambda entry: (entry.key, entry.uri))


def _repeated(path: str, number: int, entry: Entry) -> Entry:
    problem = Problem("repeated-member", "The container has a later member of the same path, and that one is taken.")
    return entry._replace(uri=_unread(path, entry.key, number), problem=problem)


def _of_zip(path: str) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as container:
        for number, info in enumerate(container.infolist()):
            name = _zip_name(info)
            if not info.flag_bits & _UTF8:
                _check_folders(path, name)
            kind = stat.S_IFMT(info.external_attr >> 16)
            is_folder = name.endswith("/") or kind == stat.S_IFDIR
            packing = _PACKINGS.get(info.compress_type)
            problem = None
            if kind == stat.S_IFLNK:
                problem = _link()
            elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                problem = Problem("not-a-file", "Neither a regular file nor a folder.")
            elif info.flag_bits & _ENCRYPTED:
                problem = Problem("encrypted", "The member is encrypted. Unpack the zip with its password.")
            elif packing is None:
                problem = Problem(
                    "unread-compression",
                    f"Compressed by the zip's method {info.compress_type}: only deflated and stored members are read.",
                )
            where = (packing or "", info.header_offset, info.compress_size, info.file_size, info.CRC)
            yield from _entry(path, name, number, where, None if is_folder else problem, is_folder)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Returns the path of a member, as the program that wrote the zip meant it.

    Some write UTF-8 without saying so, and some of Windows write backslashes.
    """
    name = info.orig_filename.split("\0")[0]
    if not info.flag_bits & _UTF8:
        with contextlib.suppress(UnicodeError):  # else it is in the old code page
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if info.create_system == _WINDOWS else name


def _check_folders(path: str, name: str) -> None:
    """Checks that the folders of a member, which may be labels, have plain names.

    A zip of an older Windows has names in the code page of its country, and does not say which.

    Args:
      name: The member's path as `_zip_name` returns it.

    Raises:
      LayoutError: They do not look like words of the first code page, 437.
    """
    folders = name.rpartition("/")[0]
    if folders.isascii() or not _is_of_first_page(folders) or _has_western_words(folders):
        return
    raise LayoutError(
        f"The zip {path!r} does not say in which encoding its names are, and as code page 437 they look wrong: "
        f"{folders!r}. Unpack it with the encoding of the system that made it, and give the folder as --input: "
        f"python -m zipfile --metadata-encoding cp932 -e {shlex.quote(path)} FOLDER. cp932 is for Japanese; gbk is for "
        "Chinese, cp949 for Korean, cp866 for Russian, cp850 for the west of Europe."
    )


def _is_of_first_page(text: str) -> bool:
    try:
        text.encode("cp437")
    except UnicodeEncodeError:  # it was UTF-8
        return False
    return True


def _has_western_words(text: str) -> bool:
    """Tells whether a text that was read as code page 437 looks as it was meant.

    Letters of other countries become frames, fractions and the like. Two bytes of Japanese may also become two Latin
    letters: words with more accents than plain letters, or with a capital behind a small one, are none.

    Example:
      >>> _has_western_words("Käfer"), _has_western_words("îó"), _has_western_words("¬«Φ¬á")
      (True, False, False)
    """
    if not all(sign.isascii() or "LATIN" in unicodedata.name(sign, "") for sign in text):
        return False
    for word in re.findall(r"[^\W\d_]+", text):
        accented = sum(not letter.isascii() for letter in word)
        mixed = any(one.islower() and other.isupper() for one, other in itertools.pairwise(word))
        if accented and (2 * accented > len(word) or mixed):
            return False
    return True


def _of_tar(path: str) -> Iterator[Entry]:
    with tarfile.open(path, "r:") as container:
        for number, info in enumerate(container):
            problem = None
            if info.issym() or info.islnk():
                problem = _link()
            elif info.issparse() or not (info.isreg() or info.isdir()):
                problem = Problem("not-a-file", "Neither a regular file nor a folder.")
            where = (members.PLAIN, info.offset_data, info.size, info.size, 0)
            yield from _entry(path, info.name, number, where, problem, info.isdir())


def _entry(
    path: str, name: str, number: int, where: tuple[str, int, int, int, int], problem: Problem | None, is_folder: bool
) -> Iterator[Entry]:
    """Yields the entry of a member; none for the container's own folder.

    Args:
      path: The container.
      name: The member's path as it is written.
      number: Its number in the container.
      where: packing, offset, packed, size and crc of a `Member`.
    """
    key = "/".join(part for part in name.split("/") if part not in ("", "."))
    if not key:
        return
    if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
        problem = Problem(OUTSIDE, f"The member's path {name!r} would leave the container.")
        yield Entry(key, _unread(path, key, number), problem)
        return
    if is_folder:
        yield Entry(key, _unread(path, key, number), Problem(EMPTY, "The folder is empty.", folder=True))
        return
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        problem = Problem("name-not-utf8", "The name is not UTF-8; rename it.")
    if problem is not None:
        yield Entry(key, _unread(path, key, number), problem)
    else:
        yield Entry(key, members.address(Member(path, key, *where)), None)


def _unread(path: str, key: str, number: int) -> str:
    return members.address(Member(path, key, members.UNREAD, number))


def _link() -> Problem:
    return Problem("link-in-container", "A link in a container is not followed.")


def leaves(uri: str, problem: Problem | None) -> bool:
    """Tells whether an entry is a member whose path would leave its container."""
    return problem is not None and problem.reason == OUTSIDE and members.parse(uri) is not None


def remedy(path: str) -> str:
    """Returns what to do with a container that is not read, or ""."""
    return next((said for endings, said in _REMEDIES.items() if path.lower().endswith(endings)), "")


_REMEDIES: dict[tuple[str, ...], str] = {
    (".tar.gz", ".tgz"): "A compressed tar has to be read from its beginning for each image: `gunzip` it, and name the "
    ".tar.",
    (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"): "A compressed tar has to be read from its beginning for each "
    "image: decompress it, and name the .tar.",
    (".7z", ".rar"): "Unpack it, or make a .zip of it.",
}  # fmt: skip
