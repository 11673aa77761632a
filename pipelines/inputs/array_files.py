"""Recognizes files that hold images as arrays, and says what to do.

Data sets are published so for programs in Python and MATLAB: MNIST as IDX, CIFAR-10 as pickles, PatchCamelyon as HDF5.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# What a file is by its name, and how Python reads it.
_BY_NAME = {
    r"\.(h5|hdf5|hdf)": ("an HDF5 file", "h5py.File(FILE)"),
    r"\.np[yz]": ("a file of NumPy", "numpy.load(FILE)"),
    r"\.mat": ("a file of MATLAB", "scipy.io.loadmat(FILE)"),
    r"\.(pkl|pickle)": ("a pickle, which can run code when it is opened", "pickle.load(open(FILE, 'rb'))"),
    r"[-.]idx\d-ubyte": ("a file of MNIST's form (IDX)", "idx2numpy.convert_from_file(FILE)"),
    r"\.pth?": ("a file of PyTorch, which can run code when it is opened", "torch.load(FILE)"),
}
_BY_BEGINNING = {
    b"\x89HDF\r\n\x1a\n": r"\.(h5|hdf5|hdf)",
    b"\x93NUMPY": r"\.np[yz]",
    b"MATLAB 5.0": r"\.mat",
    **{b"\x80" + bytes([version]): r"\.(pkl|pickle)" for version in (2, 3, 4, 5)},
    **{bytes([0, 0, 8, axes]): r"[-.]idx\d-ubyte" for axes in (1, 3, 4)},
}
_WRITE = (
    "Write each image as a file into the folder of its class, for example with PIL.Image.fromarray(pixels).save(FILE)."
)


def remedy(path: str) -> str:
    """Returns what a file of arrays is and what to do with it, or "" for another file.

    The name says it, and without an ending the first bytes of a local file.

    Example:
      >>> remedy("camelyon_x.h5").partition(":")[0]
      'It is an HDF5 file, whose arrays are not read'
      >>> remedy("photo.jpg")
      ''
    """
    name = os.path.basename(path.removesuffix(".gz"))
    found = next((kind for kind in _BY_NAME if re.search(f"{kind}$", name, re.IGNORECASE)), "")
    if not found and not os.path.splitext(name)[1]:
        found = next((kind for start, kind in _BY_BEGINNING.items() if _first_bytes(path).startswith(start)), "")
    if not found:
        return ""
    what, how = _BY_NAME[found]
    return f"It is {what}, whose arrays are not read: {how} in Python gives them. {_WRITE}"


def first_of(folder: str, names: Iterable[str]) -> str:
    """Returns a sentence about files if all of them are files of arrays.

    It is "" otherwise.

    Args:
      folder: a local folder.
      names: of files in it; one with an ending is no such file, unless the ending says it.
    """
    said = [remedy(os.path.join(folder, name)) for name in names]
    return said[0] if said and all(said) else ""


def _first_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except OSError:
        return b""
