"""Tells images apart from what systems, editors and annotators leave beside them."""

from __future__ import annotations

import os
import re

# Folders and files that systems and programs make on their own. Nobody puts images of a class there.
SYSTEM_FOLDERS = frozenset({
    "__MACOSX", "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "RECYCLER",
    "System Volume Information", "lost+found", "Network Trash Folder", "Temporary Items", "__pycache__", "CVS",
})  # fmt: skip
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r"})
# Endings of files that hold no picture. A file with any other ending, or with none, is read, and its bytes decide.
_NO_PICTURE = frozenset({
    "7z", "aae", "au", "avi", "bat", "bib", "bz2", "c", "cfg", "ckpt", "conf", "cpp", "csv", "data", "db", "doc",
    "docx", "exe", "flac", "gz", "h", "h5", "hdf5", "htm", "html", "ini", "ipynb", "java", "js", "json", "jsonl",
    "keras", "lnk", "lock", "log", "m", "m4a", "m4v", "mat", "md", "md5", "mkv", "mov", "mp3", "mp4", "mpeg",
    "mpg", "names", "ndjson", "nfo", "ods", "odt", "ogg", "onnx", "parquet", "pb", "pdf", "pickle", "pkl", "ppt",
    "pptx", "pt", "pth", "py", "pyc", "r", "rar", "rst", "rtf", "sh", "sha1", "sha256", "sqlite", "tar", "tex",
    "tflite", "tfrec", "tfrecord", "tgz", "toml", "tsv", "txt", "url", "wav", "webm", "weights", "wmv", "xls",
    "xlsx", "xml", "xmp", "xz", "yaml", "yml", "zip",
})  # fmt: skip
# Names without an ending of texts that stand beside images.
_TEXTS = re.compile(
    r"(readme|licen[cs]e|copying|copyright|notice|authors|changelog|changes|makefile|dockerfile|index|list|labels|"
    r"classes|md5sums?|sha256sums?)", re.IGNORECASE,
)  # fmt: skip


def is_system_file(name: str) -> bool:
    """Tells whether a system makes files of this name, such as Thumbs.db."""
    return name.lower() in SYSTEM_FILES


def holds_no_picture(name: str) -> bool:
    """Tells whether a file's name shows that it holds no picture.

    Example:
      >>> holds_no_picture("Thumbs.db"), holds_no_picture("labels.txt"), holds_no_picture("IMG_1.heic")
      (True, True, False)
    """
    ending = os.path.splitext(name)[1][1:].lower()
    return ending in _NO_PICTURE or is_system_file(name) or bool(not ending and _TEXTS.fullmatch(name))
