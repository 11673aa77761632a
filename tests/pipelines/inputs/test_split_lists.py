"""Lists of the images of each split, as data sets are published with them."""

import dataclasses
import json

import pytest

from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.core.errors import ConfigError, SourceError
from pipelines.inputs import listing
from tests.support.files.images import draw_photo

IMAGES = [f"images/{label}/{label} {i}.jpg" for label in ("pie", "pho") for i in range(4)]


@pytest.fixture
def food(tmp_path):
    for number, name in enumerate(IMAGES):
        draw_photo(tmp_path / name, number, (6, 6))
    (tmp_path / "meta").mkdir()
    return tmp_path


def write(food, **lists):
    for name, text in lists.items():
        (food / f"meta/{name}.txt").write_text(text)
    given = tuple((name, f"meta/{name}.txt") for name in lists)
    return PrepareConfig(input=str(food), output=str(food.parent / "out"), split_lists=given)


def listed(config):
    found = list(listing.list_sources(config.input_spec))
    sources = {s.key: s.split for s in found if isinstance(s, Source)}
    rejects = [r for r in found if not isinstance(r, Source) and r.reason != "other-file"]  # the lists themselves
    return sources, sorted((r.reason, r.uri.rpartition("/")[2]) for r in rejects)


@pytest.mark.parametrize(
    "line",
    ["images/{0}/{0} {1}.jpg", "{0}/{0} {1}.jpg", "{0}/{0} {1}", "./{0}/{0} {1}.JPG", "{0} {1}", "\"{0}/{0} {1}.jpg\"",
     "{0}\\{0} {1}.jpg"],
)  # fmt: skip
def test_each_way_to_name_an_image(food, line):
    train, val = ("\n".join(line.format(label, i) for label in ("pie", "pho") for i in n) for n in ((0, 1), (2,)))
    sources, rejects = listed(write(food, train=f"# of the paper\n\n{train}\n", val=val))
    splits = ("train", "train", "validation")
    assert sources == {f"images/{label}/{label} {i}.jpg": s for label in ("pie", "pho") for i, s in enumerate(splits)}
    assert rejects == [("left-aside", "pho 3.jpg"), ("left-aside", "pie 3.jpg")]


def test_a_label_may_follow_and_the_folder_tells_equal_names_apart(food):
    for number, label in enumerate(("pie", "pho")):
        draw_photo(food / f"images/{label}/1.jpg", 90 + number, (6, 6))
    sources, _ = listed(write(food, train="pie/1.jpg 7\npie/pie 0.jpg\n", test="pho/1.jpg,3\n"))
    assert sources == {"images/pie/1.jpg": "train", "images/pho/1.jpg": "test", "images/pie/pie 0.jpg": "train"}


def test_what_lists_and_images_do_not_have_in_common_is_accounted_for(food):
    sources, rejects = listed(write(food, train="pie/pie 0\npie/pie 1\ngone/x.jpg", test="pie/pie 1\npie/pie 2"))
    assert sources == {"images/pie/pie 0.jpg": "train", "images/pie/pie 2.jpg": "test"}
    assert [r for r in rejects if r[0] != "left-aside"] == [("contradictory-lists", "pie 1.jpg"), ("missing", "x.jpg")]


def test_the_reading_is_said(food):
    config = write(food, train="pie/pie 0\n", test="pie/pie 1\npho/pho 1\n")
    told = listing.check(config.input_spec).told
    assert told[-1] == (
        f"Takes the splits from lists: train is '{food}/meta/train.txt' (1 line), test is '{food}/meta/test.txt' "
        "(2 lines). An image that none of them names is left aside."
    )
    assert not any(line.startswith("Splits are drawn") for line in told)
    plain = dataclasses.replace(config, split_lists=())
    assert any("--split-lists train=FILE,test=FILE" in line for line in listing.check(plain.input_spec).told)


def test_what_cannot_be_a_list(food):
    with pytest.raises(SourceError, match=r"none\.txt' of --split-lists cannot be read"):
        listed(PrepareConfig(input=str(food), output="out", split_lists=(("train", "none.txt"),)))
    with pytest.raises(SourceError, match="has no line"):
        listed(write(food, train="\n# nothing\n"))
    with pytest.raises(ConfigError, match="should be letters"):
        PrepareConfig(input=str(food), output="out", split_lists=(("tr ain", "a"),))


def test_lists_give_the_splits_of_a_table(food):
    config = write(food, train="pie 0.jpg\n", test="pie 1.jpg\n")
    (food / "t.csv").write_text("path,label,fold\nimages/pie/pie 0.jpg,a,x\nimages/pie/pie 1.jpg,b,y\n")
    of_table = dataclasses.replace(config, input=str(food / "t.csv"))
    sources = [(s.key, s.label, s.split) for s in listing.list_sources(of_table.input_spec) if isinstance(s, Source)]
    assert sources == [("images/pie/pie 0.jpg", "a", "train"), ("images/pie/pie 1.jpg", "b", "test")]
    assert any("Takes the splits from lists" in line for line in listing.check(of_table.input_spec).told)
    with pytest.raises(SourceError, match="Add --split-column none to take the lists, or leave them out"):
        list(listing.list_sources(dataclasses.replace(of_table, split_column="fold").input_spec))


@pytest.mark.parametrize("as_object", [True, False])
def test_lists_in_json(food, as_object):
    """As Food-101 has them beside those in text: an object with a list for each class."""
    names = {"train": ("pie/pie 0", "pho/pho 1"), "test": ("pie/pie 3",)}
    for split, found in names.items():
        content = {label: [n for n in found if n.startswith(label)] for label in ("pie", "pho")}
        (food / f"meta/{split}.json").write_text(json.dumps(content if as_object else list(found)))
    lists = tuple((split, f"meta/{split}.json") for split in names)
    sources, _ = listed(PrepareConfig(input=str(food), output=str(food.parent / "out"), split_lists=lists))
    assert sources == {"images/pie/pie 0.jpg": "train", "images/pho/pho 1.jpg": "train", "images/pie/pie 3.jpg": "test"}


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON"), ('[{"a": 1}]', "should be a JSON list of paths")])
def test_json_that_is_no_list_is_refused(food, text, message):
    (food / "meta/train.json").write_text(text)
    with pytest.raises(SourceError, match=message):
        listed(PrepareConfig(input=str(food), output="out", split_lists=(("train", "meta/train.json"),)))
