"""Files that are no images are named by their first bytes, with what to do."""

from __future__ import annotations

import gzip
import io
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from pipelines.images.files import file_kinds, formats
from pipelines.images.files.image_error import ImageError


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


def targa() -> bytes:
    """A Targa image of 2x2 pixels, whose first bytes are those of a cursor."""
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "TGA")
    assert out.getvalue()[:4] == b"\0\0\2\0"
    return out.getvalue()


def tiff_of(bands: int) -> bytes:
    """A little-endian TIFF of 1x1 pixels with so many bands of 16 bits, as satellites' are (TIFF 6.0, section 2)."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, bands, 122), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 122 + 2 * bands), (277, 3, 1, bands), (278, 3, 1, 1), (279, 4, 1, 2 * bands)]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHI", b"II", 42, 8) + directory + bytes(4)
    return head.ljust(122, b"\0") + struct.pack("<H", 16) * bands + bytes(2 * bands)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (gzip.compress(b"x", mtime=0), "It is a gzip file. Unpack it."),
        (bytes(128) + b"DICM" + bytes(40), "It is a DICOM file. Convert it to PNG or JPEG (pydicom, dcm2pnm)"),
        (npy(), "It is a NumPy array."),
        (b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>", "It is an SVG drawing."),
        (b"<!DOCTYPE HTML><p>404", "It is a web page, often the error of a download."),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Fetch the files: git lfs pull."),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "It is a camera's raw file."),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "It is a video. Write its frames"),
        (b"PK\3\4" + bytes(40), "It is a zip archive."),
        (bytes(4096), "It is a file of zeros"),
        (b"\0\0\1\0\1\0" + bytes(40), "It is an icon."),
        (targa(), "It is a Targa image (TGA). Convert it to PNG or JPEG."),
        (targa()[: 18 + 12], "It is a Targa image (TGA)."),  # without the footer of version 2
        (pickle.dumps({"data": [1, 2]}, 2), "It is a pickle, which can run code when it is opened."),
        (pickle.dumps([1, 2], 4), "It is a pickle"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90), "It is a MATLAB file."),
        (b"\0\0\x08\3\0\0\x27\x10\0\0\0\x1c\0\0\0\x1c" + bytes(99), "It is an IDX file, as MNIST has them."),
        (tiff_of(13), "It is a TIFF that is damaged, or of a form that is not read."),
    ],
)
def test_what_it_is_and_what_to_do(data, sentence):
    assert sentence in file_kinds.sentence(data)
    with pytest.raises(ImageError, match="It is") as raised:
        formats.read_header(data)
    assert raised.value.reason == "not-an-image"


@pytest.mark.parametrize("data", [b"dear diary", b"\xff\xd8\xff\xe0", b"GIF89a", b"{'a': 1}"])
def test_what_is_not_recognized(data):
    assert file_kinds.sentence(data) == ""


@pytest.mark.parametrize(
    ("brands", "heif"),
    [
        (b"heic\0\0\0\0mif1heic", True),
        (b"mif1\0\0\0\0mif1heic", True),
        (b"avif\0\0\0\0mif1avif", False),
        (b"mif1\0\0\0\0mif1avif", False),
        (b"isom\0\0\0\0mp41", False),
    ],
)
def test_heif_is_told_from_avif_and_videos(brands, heif):
    assert file_kinds.is_heif(b"\0\0\0\x1cftyp" + brands + bytes(60)) is heif
