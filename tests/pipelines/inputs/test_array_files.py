"""Files of arrays, which are not read: what they are, and what to do."""

from __future__ import annotations

import pickle

import pytest

from pipelines.core.errors import LayoutError, NothingUsableError, SourceError
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.h5", b"", "an HDF5 file"),
        ("x.npz", b"", "a file of NumPy"),
        ("digits.mat", b"", "a file of MATLAB"),
        ("train-images-idx3-ubyte.gz", b"", "a file of MNIST's form (IDX)"),
        ("train-images.idx3-ubyte", b"", "a file of MNIST's form (IDX)"),
        ("data_batch_1", pickle.dumps([1]), "a pickle, which can run code"),
        ("data", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("model.pt", b"", "a file of PyTorch"),
    ],
)
def test_what_it_is_and_what_to_do(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match="There is a file that is no manifest") as caught:
        listing.check(InputSpec(str(tmp_path / name)))
    assert f"It is {what}" in str(caught.value)
    assert "Write each image as a file into the folder of its class" in str(caught.value)


def test_a_folder_of_such_files_says_it(tmp_path):
    (tmp_path / "x.h5").touch()
    (tmp_path / "meta.csv").touch()
    with pytest.raises(NothingUsableError, match=r"x\.h5': It is an HDF5 file, .* --input [^ ]*/meta\.csv\.$"):
        listing.check(InputSpec(str(tmp_path)))


def test_a_folder_with_a_table_alone_names_it(tmp_path):
    for name in ("README", "fer2013.csv"):
        (tmp_path / name).touch()
    with pytest.raises(NothingUsableError, match=r"read with --input, such as --input [^ ]*/fer2013\.csv\.$"):
        listing.check(InputSpec(str(tmp_path)))


def test_pickles_without_an_ending_are_no_images_of_one_class(tmp_path):
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps([1]))
    (tmp_path / "batches.meta").touch()
    with pytest.raises(LayoutError, match=r"data_batch_1' is no image\. It is a pickle"):
        listing.check(InputSpec(str(tmp_path)))
    (tmp_path / "test_batch").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(LayoutError, match="4 images are in no class folder"):
        listing.check(InputSpec(str(tmp_path)))
