"""The sample data: counts, kinds, sameness, and what becomes of an interrupted or foreign directory."""

from __future__ import annotations

import collections
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.sample import draw, eggs

COUNT = 60


def digests(directory: Path) -> dict[str, str]:
    files = (p for p in directory.rglob("*") if p.is_file())
    return {p.relative_to(directory).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample") / "eggs"
    draw.draw(directory, COUNT)
    return directory


def test_every_tenth_egg_is_cracked(drawn: Path) -> None:
    found = collections.Counter(name.split("/")[0] for name in digests(drawn))
    assert found == {"sound": 54, "cracked": 6}
    assert sorted(p.stem for p in (drawn / "cracked").iterdir()) == [
        "egg-00009",
        "egg-00019",
        "egg-00029",
        "egg-00039",
        "egg-00049",
        "egg-00059",
    ]


def test_a_second_draw_writes_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    draw.draw(tmp_path / "again", COUNT)
    assert digests(tmp_path / "again") == digests(drawn)


def test_a_shorter_draw_is_the_beginning_of_a_longer_one(drawn: Path, tmp_path: Path) -> None:
    draw.draw(tmp_path / "short", 12)
    assert digests(tmp_path / "short").items() <= digests(drawn).items()


def test_another_seed_draws_other_eggs(drawn: Path, tmp_path: Path) -> None:
    draw.draw(tmp_path / "other", 5, seed=1)
    assert not set(digests(tmp_path / "other").values()) & set(digests(drawn).values())


def test_files_are_readable_and_of_mixed_size_and_form(drawn: Path) -> None:
    formats, modes, sizes = set(), set(), set()
    for path in drawn.rglob("egg-*"):
        with Image.open(path) as image:
            image.load()
            assert path.suffix == {"JPEG": ".jpg", "PNG": ".png"}[str(image.format)]
            formats.add(image.format)
            modes.add(image.mode)
            sizes.add(image.size)
            assert all(80 <= side <= 240 for side in image.size)
            assert 2 / 3 - 0.02 <= image.width / image.height <= 3 / 2 + 0.02
    assert formats == {"JPEG", "PNG"}
    assert {"RGB", "L"} <= modes
    assert len(sizes) > COUNT / 2


@pytest.mark.parametrize(
    ("form", "suffix", "mode", "orientation"),
    [
        ("gray", ".jpg", "L", 1),
        ("exif", ".jpg", "RGB", 6),
        ("palette", ".png", "P", 1),
        ("alpha", ".png", "RGBA", 1),
    ],
)
def test_odd_forms_are_what_they_say(tmp_path: Path, form: str, suffix: str, mode: str, orientation: int) -> None:
    rng = np.random.RandomState(0)
    pixels, shell = eggs.photograph(rng, 90, 120, cracked=True)
    assert (pixels.dtype, pixels.shape, shell.dtype, shell.shape) == (np.float32, (90, 120, 3), np.float32, (90, 120))
    assert 0 <= pixels.min() < pixels.max() <= 1
    draw._save(rng, tmp_path / "egg", pixels, shell, form)
    with Image.open(tmp_path / f"egg{suffix}") as image:
        assert image.mode == mode
        assert image.getexif().get(0x0112, 1) == orientation
        assert image.size == ((90, 120) if orientation == 6 else (120, 90))


def test_brightness_does_not_give_the_class_away() -> None:
    """The same random numbers with and without a crack: the mean over 40 pictures moves by less than 5 % of white."""
    means = []
    for cracked in (False, True):
        pictures = [eggs.photograph(np.random.RandomState(i), 80, 80, cracked)[0] for i in range(40)]
        means.append(np.mean([p.mean() for p in pictures]))
    assert abs(means[0] - means[1]) < 0.05


def test_drawing_again_leaves_the_files_alone(drawn: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in drawn.rglob("egg-*")}
    draw.draw(drawn, COUNT)
    assert {p: p.stat().st_mtime_ns for p in drawn.rglob("egg-*")} == before


def test_an_interrupted_draw_leaves_nothing_and_is_drawn_again(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "eggs"
    with monkeypatch.context() as patch:
        real = draw._draw_one

        def fail_at_seven(directory: Path, seed: int, index: int) -> None:
            if index == 7:
                raise KeyboardInterrupt
            real(directory, seed, index)

        patch.setattr(draw, "_draw_one", fail_at_seven)
        with pytest.raises(KeyboardInterrupt):
            draw.draw(target, 12)
    assert list(tmp_path.iterdir()) == []
    draw.draw(target, 12)
    assert len(digests(target)) == 12


def test_a_draw_without_its_marker_or_of_another_count_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "eggs"
    draw.draw(target, 3)
    (tmp_path / ".eggs.sample.json").unlink()  # as if stopped between renaming and marking
    (target / "sound" / "egg-00000.jpg").write_bytes(b"cut")
    draw.draw(target, 3)
    whole = digests(target)
    draw.draw(target, 2)
    assert len(digests(target)) == 2
    assert digests(target).items() <= whole.items()


def test_a_directory_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sound").mkdir(parents=True)
    (tmp_path / "mine" / "sound" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="holds files that are not sample data"):
        draw.draw(tmp_path / "mine", 3)
    assert (tmp_path / "mine" / "sound" / "holiday.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (3, -1), (3, 2**32)])
def test_bad_arguments_are_named(tmp_path: Path, count: int, seed: int) -> None:
    with pytest.raises(ValueError, match=f"Received: count={count}, seed={seed}"):
        draw.draw(tmp_path / "eggs", count, seed)
