"""Recognizes files that are not read as images, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Kind(NamedTuple):
    """Describes a kind of file.

    name: the noun of a sentence. remedy: what to do with such a file. matches: tells by the bytes of the file.
    """

    name: str
    remedy: str
    matches: Callable[[bytes], bool]


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


def _at(position: int, *found: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(found, position)


def _text(*words: bytes) -> Callable[[bytes], bool]:
    """Matches a text that has one of these words near its beginning."""
    return lambda data: (
        data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"{", b"%", b"v")
        and any(word in data[:1024].lower() for word in words)
    )


def _is_targa(data: bytes) -> bool:
    """Tells whether a file is a Targa image, by its footer or by its header.

    No number stands at its beginning (Truevision TGA 2.0).
    """
    if data.endswith(b"TRUEVISION-XFILE.\0"):
        return True
    head = data[:18]
    return (
        len(head) == 18
        and head[1] in (0, 1)  # with a colour map or without
        and head[2] in (1, 2, 3, 9, 10, 11)  # palette, colours or gray, each plain or packed
        and any(head[12:14])
        and any(head[14:16])
        and head[16] in (8, 15, 16, 24, 32)
        and head[7] in (0, 15, 16, 24, 32)
    )


_CONVERT = "Convert it to PNG or JPEG"
# From the specifications of the formats: the bytes by which each is to be recognized.
_KINDS = (
    Kind("a Git LFS pointer in the place of the file", "Fetch the files: git lfs pull.", _text(b"git-lfs.github.com")),
    Kind("an SVG drawing", "Render it to PNG.", _text(b"<svg")),
    Kind("a web page, often the error of a download", "Download the image again.", _text(b"<html", b"<!doctype html")),
    Kind("a DICOM file", f"{_CONVERT} (pydicom, dcm2pnm), with one range for all.", _at(128, b"DICM")),
    Kind("a NumPy array", f"{_CONVERT}: PIL.Image.fromarray(numpy.load(PATH)).save(…).", _begins(b"\x93NUMPY")),
    Kind("a JPEG XL image", f"{_CONVERT} (djxl).", _begins(b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    Kind("a camera's raw file", f"{_CONVERT} (darktable, rawpy).",
         lambda data: (data[8:10] == b"CR" and data[:2] == b"II") or data[4:11] == b"ftypcrx" or data.startswith(
             (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0"))),
    Kind("an icon", f"{_CONVERT}.",
         lambda data: data.startswith((b"\0\0\1\0", b"\0\0\2\0")) and any(data[4:6])),
    Kind("a Targa image (TGA)", f"{_CONVERT}.", lambda data: _is_targa(data)),
    Kind("a Photoshop file", f"{_CONVERT}.", _begins(b"8BPS")),
    Kind("an OpenEXR image", f"{_CONVERT}, with one range for all.", _begins(b"\x76\x2f\x31\x01")),
    Kind("a Radiance HDR image", f"{_CONVERT}, with one range for all.", _begins(b"#?RADIANCE", b"#?RGBE")),
    Kind("a FITS image", f"{_CONVERT} (astropy), with one range for all.", _begins(b"SIMPLE  =")),
    Kind("a NIfTI volume", "Cut it into PNG images (nibabel).", _at(344, b"n+1\0", b"ni1\0")),
    Kind("a PDF document", "Render its pages to PNG.", _begins(b"%PDF")),
    Kind("a PostScript document", "Render it to PNG.", _begins(b"%!PS")),
    Kind("a gzip file", "Unpack it.", _begins(b"\x1f\x8b")),
    Kind("a zip archive", "Unpack it.", _begins(b"PK\3\4")),
    Kind("a 7z archive", "Unpack it.", _begins(b"7z\xbc\xaf\x27\x1c")),
    Kind("a RAR archive", "Unpack it.", _begins(b"Rar!\x1a\7")),
    Kind("an HDF5 file", "Write its images as files.", _begins(b"\x89HDF\r\n\x1a\n")),
    Kind("a pickle, which can run code when it is opened", "Write its images as files: see the page of the dataset.",
         lambda data: data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5") and data[2:3] in b"}](\x95cq"),
    Kind("a MATLAB file", "Write its images as files (scipy.io.loadmat).", _begins(b"MATLAB 5.0 MAT-file")),
    Kind("an IDX file, as MNIST has them", "Write its images as files (numpy, from byte 16 on).",
         _begins(b"\0\0\x08\1", b"\0\0\x08\3")),
    Kind("a TIFF that is damaged, or of a form that is not read",
         "Save it anew, of several bands those to use (gdal_translate -b 4 -b 3 -b 2, rasterio).",
         _begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    Kind("a video", "Write its frames as images (ffmpeg).",
         lambda data: (data[4:8] == b"ftyp" and data[8:11] in (b"iso", b"mp4", b"M4V", b"qt ", b"avc"))
         or (data[:4] == b"RIFF" and data[8:12] == b"AVI ") or data.startswith(b"\x1a\x45\xdf\xa3")),
    Kind("a file of zeros, as a copy that failed leaves it", "Copy it again.",
         lambda data: not data.strip(b"\0")),
)  # fmt: skip


def sentence(data: bytes) -> str:
    """Returns what a file is and what to do, or "" if it is not recognized.

    Example:
      >>> sentence(b"\\x1f\\x8b\\x08...")
      'It is a gzip file. Unpack it.'
    """
    for kind in _KINDS:
        if kind.matches(data):
            return f"It is {kind.name}. {kind.remedy}"
    return ""


def is_raw_photograph(data: bytes) -> bool:
    """Tells whether Pillow would read only the preview of a camera's raw file."""
    return data[:2] == b"II" and data[8:10] == b"CR"


def is_heif(data: bytes) -> bool:
    """Tells whether a file is HEIC or HEIF, by its brands.

    They are those of ISO/IEC 23008-12, annex B; AVIF is another format.
    """
    brands = data[8:12], *(data[i : i + 4] for i in range(16, min(len(data), 48), 4))
    heif = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    return data[4:8] == b"ftyp" and data[8:12] in heif and not {b"avif", b"avis"} & set(brands)
