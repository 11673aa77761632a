"""Inspecting a dataset: the table, its JSON, and the contact sheet, on four records of flat gray."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.contract import ContractError
from pipelines.dataset import contact_sheet, describe
from pipelines.dataset.contact_sheet import GAP, MISSING, TILE, Entry
from pipelines.images import file_reader
from pipelines.images.limits import Limits
from tests.support import reports
from tests.support.files import images


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("inspect") / "tiny"
    reports.write_dataset(directory)
    return directory


def pair_colors(path: Path, column: int, row: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours in the middle of a pair's two pictures."""
    x = GAP + column * (2 * TILE + 3 * GAP) + TILE // 2
    y = GAP + row * (TILE + contact_sheet.CAPTION + GAP) + TILE // 2
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return tuple(pixels[y, x]), tuple(pixels[y, x + TILE + GAP])


def test_description_holds_every_number(dataset: Path) -> None:
    text = describe.describe(dataset)
    for line in (
        "dataset     tiny, format version 1",
        "images      2 x 2 x 3 RGB, float32 to the model",
        "range       -2 to 3.1",
        "encoding    float32",
        "resize      filter area, mode stretch",
        "red                100   50   0.02      -2",
        "cracked        1       2                1",
        "sound          1       1                0",
        "all            2       3                1",
        "empty          1",
        "versions    python 3.11.9",
    ):
        assert line in text.split("\n")
    assert text.index("\ntrain\n") < text.index("\ntest\n")


def test_json_holds_the_contract_and_the_sums(dataset: Path) -> None:
    data = json.loads(describe.describe_json(dataset))
    assert data["splits"]["train"]["stored"] == {"cracked": 2, "sound": 1}
    assert data["splits"]["train"]["shard_count"] == 1
    assert data["splits"]["train"]["bytes"] == (dataset / reports.TRAIN).stat().st_size


def test_terminal_escapes_in_labels_are_shown_as_text(tmp_path: Path) -> None:
    made = reports.contract(rejected={"\x1b[2Jgone\nx": 1})
    (tmp_path / "contract.json").write_text(made.to_json(), encoding="utf-8")
    text = describe.describe(tmp_path)
    assert "\x1b" not in text
    assert "\\u001b[2Jgone" in text


@pytest.mark.parametrize("encoding", ["float16", "float32", "uint8", "png"])
def test_sheet_shows_source_beside_stored(tmp_path: Path, encoding: str) -> None:
    reports.write_dataset(tmp_path / "tiny", encoding)
    out = tmp_path / "sheet.png"
    describe.contact_sheet(tmp_path / "tiny", out, columns=3, rows=1)
    # Classes in order of label id; the cracked two in the order that the seed draws.
    assert pair_colors(out, 0) == ((100,) * 3, (100,) * 3)
    assert {pair_colors(out, 1), pair_colors(out, 2)} == {((200,) * 3, (200,) * 3), ((220,) * 3, (220,) * 3)}


def test_sheet_is_the_same_for_the_same_seed_and_ends_with_its_records(dataset: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        describe.contact_sheet(dataset, tmp_path / name, columns=2, rows=9)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with Image.open(tmp_path / "a") as image:
        assert image.format == "PNG"
        assert image.size == (2 * (2 * TILE + 3 * GAP) + GAP, 2 * (TILE + contact_sheet.CAPTION + GAP) + GAP)


def test_a_missing_source_is_a_gray_tile(dataset: Path, tmp_path: Path) -> None:
    describe.contact_sheet(dataset, tmp_path / "sheet.png", split="test")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.getpixel((GAP + 4, GAP + 4)) == MISSING
    assert pair_colors(tmp_path / "sheet.png", 0)[1] == (0, 0, 0)


def test_a_source_that_pillow_would_give_to_ghostscript_is_not_opened(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "drawing.eps")
    assert Image.open(tmp_path / "drawing.eps").format == "EPS"
    assert contact_sheet.load_sources([str(tmp_path / "drawing.eps")]) == ["source unreadable"]


@pytest.mark.slow
def test_a_source_that_hangs_its_decoder_costs_its_own_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reader, "PICTURES", "tests.support.files.faulty_files")
    monkeypatch.setattr(contact_sheet, "LIMITS", Limits(image_timeout=1.0))
    (tmp_path / "comment.gif").write_bytes(images.gif(1, 1, images.gif_comment(20 << 20), images.gif_frame(1, 1)))
    for name in ("hangs.png", "crashes.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = contact_sheet.load_sources([str(tmp_path / name) for name in ("hangs.png", "comment.gif", "crashes.png")])
    assert (found[0], found[2]) == ("source unreadable", "source unreadable")
    assert isinstance(found[1], Image.Image)


def test_sources_are_upright_and_over_white_or_say_why_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:200])
    names = ("turned.jpg", "clear.png", "cut.jpg", "gone.jpg")
    turned, clear, cut, gone = contact_sheet.load_sources([str(tmp_path / name) for name in names])
    assert isinstance(turned, Image.Image)
    assert turned.size == (20, 40)
    assert isinstance(clear, Image.Image)
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    assert (cut, gone) == ("source unreadable", "source missing")


def test_classes_take_turns() -> None:
    entries = [Entry("f", i, str(i), "u", "sound" if i < 8 else "cracked", 0) for i in range(10)]
    made = reports.contract()
    labels = [e.label for e in describe.choose(made, entries, 5, seed=0)]
    assert labels == ["sound"] * 3 + ["cracked"] * 2
    assert describe.choose(made, entries, 5, seed=0) == describe.choose(made, entries, 5, seed=0)
    assert describe.choose(made, entries, 5, seed=0) != describe.choose(made, entries, 5, seed=1)
    with pytest.raises(ContractError, match="'other', which the contract does not have"):
        describe.choose(made, [dataclasses.replace(entries[0], label="other")], 5, seed=0)


def test_denormalizing_is_the_inverse_of_the_affine_map() -> None:
    made = reports.contract()
    pixels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    normalized = pixels.astype(np.float32) * np.float32(0.02) - np.float32(2)
    assert np.array_equal(describe.denormalize(made, normalized), pixels)
    assert np.array_equal(describe.denormalize(made, normalized.astype(np.float16)), pixels)
    assert describe.denormalize(made, np.full((1, 3), 99.0)).tolist() == [[255, 255, 255]]


def test_what_is_no_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    for call in (describe.describe, describe.describe_json):
        with pytest.raises(ContractError, match="not a prepared dataset"):
            call(tmp_path)
    with pytest.raises(ContractError, match="No split 'nope'"):
        describe.contact_sheet(dataset, tmp_path / "x.png", split="nope")
    with pytest.raises(ValueError, match="Received: 0 x 6"):
        describe.contact_sheet(dataset, tmp_path / "x.png", columns=0)
    assert not (tmp_path / "x.png").exists()


def test_a_ledger_that_disagrees_is_refused(tmp_path: Path) -> None:
    reports.write_dataset(tmp_path / "tiny")
    ledger = tmp_path / "tiny" / "ledger" / f"{reports.TRAIN}.jsonl"
    ledger.write_text(ledger.read_text(encoding="utf-8").split("\n")[0], encoding="utf-8")
    with pytest.raises(ContractError, match="has 1 lines, its shard 3 records"):
        describe.contact_sheet(tmp_path / "tiny", tmp_path / "x.png")
    ledger.unlink()
    with pytest.raises(ContractError, match="cannot be read"):
        describe.contact_sheet(tmp_path / "tiny", tmp_path / "x.png")
