"""Records of one shard in order: the same bytes however many are under way, and bounds on what is."""

from __future__ import annotations

import collections
import hashlib
import pathlib
import random

import pytest

from pipelines.config import PrepareConfig
from pipelines.contract import tfrecord
from pipelines.core.elements import Header, Item, Ref
from pipelines.core.errors import IncompleteError
from pipelines.core.summary import Rejected
from pipelines.images import histogram
from pipelines.images.image_spec import ImageSpec
from pipelines.records import make_record, ordered_records
from pipelines.workers.pool import Workers
from tests.support.files.images import draw_photo

SPEC = PrepareConfig(input="in", allow_outside=True, output="out", size=(16, 12), seed=3, image_timeout=2.0).record_spec
SIZE = 3 * 16 * 12


@pytest.fixture(scope="module")
def two() -> Workers:
    return Workers(2, "tests.support.workers.faulty_tasks")


def items(folder: pathlib.Path, names: list[str], copies: int) -> list[Item]:
    """`copies` records of a drawn photo of each name; those of all photos alternate."""
    refs = []
    for i, name in enumerate(names):
        draw_photo(folder / name, i, (40, 30))
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        refs.append(Ref(name, str(folder / name), "cat", "train", "", 1.0, digest))
    every = [(ref, copy) for copy in range(copies) for ref in refs]
    return [Item(position, ref, copy) for position, (ref, copy) in enumerate(every)]


def test_records_are_those_that_are_made_one_by_one(two, tmp_path, monkeypatch):
    """Whether two or two thousand fit under way, and the kept pixels in memory or not."""
    asked = items(tmp_path, [f"{i}.jpg" for i in range(7)], 9)
    random.Random(0).shuffle(asked)
    (tmp_path / "3.jpg").write_bytes(b"changed")
    decoded = {item.ref.key: make_record.load(item.ref, "train", SPEC) for item in asked}

    def expected(item: Item) -> tuple[bytes, bytes]:
        pixels = decoded[item.ref.key].pixels
        levels = b"" if item.copy else histogram.histogram(pixels).tobytes()
        return tfrecord.framed(make_record.make_example(pixels, item.ref, item.copy, 4, SPEC)), levels

    for under_way, in_memory in ((1, 1), (12 * SIZE, 3 * SIZE), (64 << 20, 16 << 20)):
        monkeypatch.setattr(ordered_records, "UNDER_WAY", under_way)
        monkeypatch.setattr(ordered_records, "IN_MEMORY", in_memory)
        made = list(ordered_records.in_order(asked, "train", {"cat": 4}, SPEC, two))
        assert [item for item, _ in made] == asked
        for item, found in made:
            if item.ref.key == "3.jpg":
                assert isinstance(found, Rejected)
                assert found.reason == "changed"
            else:
                assert (found.framed, found.levels) == expected(item)
                assert found.pixels == b""


@pytest.mark.slow
def test_copies_do_not_count_against_the_deadline_of_their_image(two, tmp_path):
    """30 copies of 0.2 s each: six seconds in all, where an image has two."""
    asked = items(tmp_path, ["slow-copies.jpg"], 30)
    made = [found for _, found in ordered_records.in_order(asked, "train", {"cat": 0}, SPEC, two)]
    assert not [found for found in made if isinstance(found, Rejected)]
    assert len({found.framed for found in made}) == 30


@pytest.mark.parametrize("under_way", [1, 20 * SIZE, 64 << 20])
def test_what_is_under_way_is_bounded_in_bytes_and_a_source_is_decoded_once(tmp_path, monkeypatch, under_way):
    """Five images of 100 copies each: no request makes more than one record, and few are ahead of their turn."""
    monkeypatch.setattr(ordered_records, "UNDER_WAY", under_way)
    asked, pair = items(tmp_path, [f"{i}.jpg" for i in range(5)], 100), Workers(2)
    requested, taken, most = collections.Counter(), 0, 0
    submit = pair.submit

    def counting(task, shared, requests, deadline=None, again=None):
        nonlocal most
        requested[task] += len(requests)
        most = max(most, sum(requested.values()) - taken)
        return submit(task, shared, requests, deadline, again)

    monkeypatch.setattr(pair, "submit", counting)
    for _ in ordered_records.in_order(asked, "train", {"cat": 0}, SPEC, pair):
        taken += 1
    assert requested == {"make": 5, "make_copy": 495}
    assert most <= max(2, min(2 * ordered_records.WINDOW, under_way // (2 * SIZE)))


def test_of_images_of_unequal_size_the_largest_one_counts(tmp_path):
    asked = items(tmp_path, ["wide.jpg", "high.jpg"], 1)
    sizes = {"wide.jpg": (100, 50), "high.jpg": (10, 40)}  # width and height: 2:1, and 1:4
    headers = {name: Header("jpeg", *size, 1, (), True) for name, size in sizes.items()}
    asked = [item._replace(ref=item.ref._replace(header=tuple(headers[item.ref.key]))) for item in asked]
    assert ordered_records._most_bytes(asked, ImageSpec(16, 16, "shorter")) == 16 * 64 * 3
    assert ordered_records._most_bytes(asked[:1], ImageSpec(16, 16, "shorter", channels=1)) == 16 * 32
    assert ordered_records._most_bytes(asked, ImageSpec(16, 12)) == 16 * 12 * 3


def test_a_worker_that_is_killed_while_it_makes_a_copy_ends_the_run_only_if_it_happens_again(two, tmp_path):
    asked = items(tmp_path, ["crashes-in-copy-3.jpg", "good.jpg"], 6)
    with pytest.raises(IncompleteError, match=r"Copy 3 of '.*crashes-in-copy-3\.jpg' cannot be made"):
        list(ordered_records.in_order(asked, "train", {"cat": 0}, SPEC, two))
