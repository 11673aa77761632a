"""JPEGs that are cut off: what tells them, and what their policy makes of them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from pipelines.config import PrepareConfig
from pipelines.contract import contract_file
from pipelines.images.files import formats, opening
from pipelines.images.files.image_error import ImageError
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy, from_notes
from pipelines.job import prepare

FILL = SourcePolicy(truncated="fill")
SIDE = 64


def jpeg(progressive=False, exif=False):
    rows = np.linspace(30, 220, SIDE)[:, None, None] * np.ones((1, SIDE, 3))
    file, more = io.BytesIO(), {}
    if exif:
        small = io.BytesIO()
        Image.new("RGB", (8, 8)).save(small, "JPEG")
        more["comment"] = small.getvalue()  # a whole JPEG inside of the header, as a camera's thumbnail
    Image.fromarray(rows.astype(np.uint8)).save(file, "JPEG", quality=95, progressive=progressive, **more)
    return file.getvalue()


def read(data, policy=FILL):
    spec = ImageSpec(SIDE, SIDE, source=policy)
    return decode.decoded(data, formats.read_header(data, policy=policy), spec, Limits()).astype(int)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("exif", [False, True])
def test_what_is_cut_off(progressive, exif):
    whole = jpeg(progressive, exif)
    assert not opening.is_cut_off(whole)
    assert not opening.is_cut_off(whole + b"\0" * 50)  # what follows the end does no harm
    assert all(opening.is_cut_off(whole[:-n]) for n in (1, 2, 4, 150))


def test_only_a_jpeg_is_asked():
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    assert not opening.is_cut_off(file.getvalue()[:-20])
    assert not opening.is_cut_off(b"\xff\xda")


def test_a_whole_jpeg_is_read_as_ever():
    data = jpeg()
    assert formats.read_header(data, policy=FILL) == formats.read_header(data)
    np.testing.assert_array_equal(read(data), read(data, SourcePolicy()))


@pytest.mark.parametrize("progressive", [False, True])
def test_the_part_that_is_there_is_read_and_the_rest_is_filled(progressive):
    whole = jpeg(progressive)
    expected = read(whole, SourcePolicy())
    header = formats.read_header(whole[:-2], policy=FILL)
    assert (header.conversions, header.in_graph) == (("truncated",), False)
    np.testing.assert_allclose(read(whole[:-2]), expected, atol=2)  # only its end was missing
    half = read(whole[: len(whole) * 3 // 4])
    assert half.shape == (SIDE, SIDE, 3)
    if not progressive:
        same = np.abs(half - expected).max(axis=(1, 2)) <= 2
        assert same[: SIDE // 4].all()
        assert not same[-8:].any()


def test_without_the_policy_it_is_a_reject():
    data = jpeg()[:-150]
    assert formats.read_header(data).in_graph
    with pytest.raises(ImageError, match=r"(?i)jpeg"):
        read(data, SourcePolicy())


def test_a_header_without_a_scan_stays_a_reject():
    data = jpeg()
    with pytest.raises(ImageError):
        read(data[: data.rfind(b"\xff\xda")])


def test_the_policy_is_told_by_name():
    assert from_notes(FILL.noted()) == FILL
    assert from_notes({}).truncated == "reject"
    with pytest.raises(ValueError, match="truncated should be one of reject, fill"):
        from_notes({"truncated": "guess"})


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["reject", "fill"])
def test_a_run_counts_them_and_states_the_policy(policy, tmp_path):
    for number in range(12):
        path = tmp_path / f"in/{'ab'[number % 2]}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg()[: -150 if number == 3 else None] if number else jpeg(progressive=True))
    out = tmp_path / "out"
    result = prepare.prepare(PrepareConfig(input=str(tmp_path / "in"), output=str(out), size=(8, 8), truncated=policy,
                                           max_reject_rate=0.2, encoding="uint8"))  # fmt: skip
    assert contract_file.load(out).decode["truncated"] == policy
    if policy == "fill":
        assert (result.summary.conversions, result.summary.rejected) == ({"truncated": 1}, {})
        lines = [json.loads(line) for file in (out / "ledger").iterdir() for line in file.read_text().splitlines()]
        assert [line["uri"].endswith("/3.jpg") for line in lines if not line.get("in_graph", True)] == [True]
    else:
        assert (result.summary.conversions, result.summary.rejected) == ({}, {"undecodable": 1})
