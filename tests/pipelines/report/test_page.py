"""The report: the shapes it draws, what it says, and that nothing in it can act."""

from __future__ import annotations

import dataclasses
import html.parser
import re

import pytest

from pipelines.contract import Split, Task
from pipelines.core import html_page, summary, text
from pipelines.core.summary import ClassCounts, Duplicates, Rejected, Thumbnail
from pipelines.report import charts
from pipelines.report import page as report
from pipelines.report.charts import Bin
from tests.support import reports

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=y>\u202etxt.exe\udcff&"
VOID = {"meta", "img", "br", "line", "rect", "link", "hr", "input", "path"}


class Page(html.parser.HTMLParser):
    """Collects a page's tags and text, and raises on a tag that is closed out of order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            raise ValueError(f"</{tag}> closes nothing at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_page_says_what_copies_and_sizes_are() -> None:
    plain = dataclasses.replace(reports.contract(), augmentation={}, resize={"mode": "none"})
    text = Page(report.render(plain, reports.summary())).text
    assert "cut or padded to 2 × 2 pixels" in text
    assert "and 1 plain copy balances the classes." in text
    assert "copy 1, plain" in text
    assert "augmented" not in text


def test_page_says_the_numbers_that_the_fixture_holds() -> None:
    page = Page(report.render(reports.contract(), reports.summary()))
    assert page.open == []
    assert (
        "3 images in 2 classes, resized to 2 × 2 pixels and stored as float32 in 2 splits; a model sees RGB values "
        "from −2 to 3.1 (zscore), and 1 augmented copy balances the classes."
    ) in page.text
    for expected in (
        "Class cracked has no images in test.",
        "1 under different labels",
        "copy 1, augmented",
        "source 20 × 30",
        "in/cracked/e.jpg cracked empty The file is empty.",
        "sound in train in/a.jpg cracked in train in/b.jpg",
        "train=0.5, test=0.5",
        "python 3.11.9",
    ):
        assert expected in page.text


def test_splits_are_told_train_first_and_test_last() -> None:
    assert summary.reading_order(["test", "b", "train", "a"]) == ["train", "b", "a", "test"]
    text = Page(report.render(reports.contract(), reports.summary())).text
    assert text.index("Shards of train") < text.index("Shards of test")


def test_page_loads_nothing_and_describes_its_pictures() -> None:
    text = report.render(reports.contract(), reports.summary())
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 3  # one source, its stored original, one copy
    assert all((a["src"] or "").startswith("data:image/jpeg;base64,/9j/") and a["alt"] for a in images)
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in page.tags if tag == "svg")
    assert "url(" not in text
    assert "@import" not in text


def test_hostile_names_are_shown_and_never_acted_on() -> None:
    c = reports.contract(
        name=HOSTILE,
        labels=(HOSTILE, "b"),
        splits={"train": Split({HOSTILE: 1}, {HOSTILE: 1}, {}, ())},
        versions={HOSTILE: HOSTILE},
    )
    s = reports.summary(
        classes={"train": {HOSTILE: ClassCounts(1, 1)}},
        rejected={HOSTILE: 1},
        rejects=(Rejected(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        duplicates=(Duplicates(HOSTILE, ((HOSTILE, HOSTILE, HOSTILE), (HOSTILE, "b", ""))),),
        thumbnails=(Thumbnail(HOSTILE, HOSTILE, "train", 0, 1, 1, HOSTILE, HOSTILE),),
        settings={HOSTILE: {HOSTILE: [HOSTILE]}},
        engine={HOSTILE: HOSTILE},
        formats={HOSTILE: 1},
        conversions={HOSTILE: 1},
        warnings=(HOSTILE,),
    )
    text = report.render(c, s)
    text.encode("utf-8")  # the lone surrogate of an undecodable file name is gone
    page = Page(text)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "\u202e" not in text
    assert "<script>alert('x')</script>\"><img src=x onerror=y>\\u202etxt.exe\\udcff&" in page.text


@pytest.mark.parametrize("classes", [1, 1000])
def test_degenerate_datasets_render(classes: int) -> None:
    labels = tuple(f"class-{i:04d}-" + "long" * 30 for i in range(classes))
    counts = {label: ClassCounts(i + 1, i + 1) for i, label in enumerate(labels)}
    plain = {label: i + 1 for i, label in enumerate(labels)}
    c = reports.contract(
        labels=labels, splits={"train": Split(plain, plain, {}, ()), "validation": Split({}, {}, {}, ())}
    )
    pictures = tuple(
        Thumbnail(f"{'d/' * 60}{i}.jpg", labels[i % classes], "train", 0, 1, 1, "/9j/", "/9j/") for i in range(300)
    )
    s = reports.summary(
        classes={"train": counts, "validation": {}},
        rejected={},
        rejects=(),
        duplicates=(),
        duplicate_groups=0,
        conflicting_groups=0,
        thumbnails=pictures,
        widths={},
        heights={},
        file_bytes={},
        pixel_histogram={},
        warnings=(),
        formats={},
        conversions={},
        settings={},
        engine={},
    )
    page = Page(report.render(c, s))
    assert page.open == []
    assert "Nothing was rejected" in page.text
    assert "No two inputs are equal." in page.text
    assert "validation is empty" in page.text
    assert "180 more pictures are left out here." in page.text
    assert ("976 classes between these are not shown; together" in page.text) == (classes == 1000)


def test_class_rows_are_largest_first_on_one_scale() -> None:
    rows = charts.class_rows(("a", "b", "c"), {"a": ClassCounts(10, 20, 10), "b": ClassCounts(40, 20, 0, 20)})
    assert [(r.label, r.natural_width, r.originals_width, r.copies_width) for r in rows] == [
        ("b", 100.0, 50.0, 0.0),
        ("a", 25.0, 25.0, 25.0),
        ("c", 0.0, 0.0, 0.0),
    ]


def test_many_classes_show_top_tail_and_the_sum_of_the_rest() -> None:
    labels = tuple(str(i) for i in range(30))
    rows = charts.class_rows(labels, {label: ClassCounts(int(label), int(label)) for label in labels})
    assert [r.label for r in rows] == [
        *(str(i) for i in range(29, 17, -1)),
        None,
        *(str(i) for i in range(11, -1, -1)),
    ]
    assert rows[12].classes == 6
    assert rows[12].counts == ClassCounts(12 + 13 + 14 + 15 + 16 + 17, 12 + 13 + 14 + 15 + 16 + 17)


def test_skew_ignores_absent_classes() -> None:
    counts = {"a": ClassCounts(90, 90), "b": ClassCounts(10, 90, 80), "c": ClassCounts()}
    assert charts.skew(counts, "natural") == 9
    assert charts.skew(counts, "stored") == 1
    assert charts.skew({"a": ClassCounts(5, 5)}, "natural") is None


def test_histogram_fills_gaps_and_names_its_bars() -> None:
    assert charts.histogram({16: 2, 48: 4}, 16, "px") == [
        Bin("16 to 31 px", 2, 50.0),
        Bin("32 to 47 px", 0, 0.0),
        Bin("48 to 63 px", 4, 100.0),
    ]
    assert charts.histogram({}, 16, "px") == []


def test_histogram_widens_its_bars_and_loses_nothing() -> None:
    bins = charts.histogram({16 * i: 1 for i in range(100)}, 16, "px")
    assert len(bins) == 34  # 100 steps, three to a bar
    assert sum(b.count for b in bins) == 100
    assert bins[0].name == "0 to 47 px"


def test_histogram_gathers_the_far_in_one_last_bar() -> None:
    bins = charts.histogram({96: 500, 112: 500, 16000: 1}, 16, "px")
    assert [(b.name, b.count) for b in bins] == [
        ("96 to 111 px", 500),
        ("112 to 127 px", 500),
        ("more, up to 16015 px", 1),
    ]


def test_file_sizes_double_from_bar_to_bar() -> None:
    assert charts.size_bins({512: 1, 2048: 2}) == [
        Bin("512 B to 1 KiB", 1, 50.0),
        Bin("1 KiB to 2 KiB", 0, 0.0),
        Bin("2 KiB to 4 KiB", 2, 100.0),
    ]
    assert charts.size_bins({0: 3}) == [Bin("0 B to 1 B", 3, 100.0)]


def test_channel_ticks_are_the_normalized_values() -> None:
    red = charts.channels(reports.contract(), {"train": [[1] * 256] * 3})[0]
    assert [level for level, _ in red.ticks] == [0, 64, 128, 192, 255]
    assert [value for _, value in red.ticks] == pytest.approx([-2, -0.72, 0.56, 1.84, 3.1])
    assert (red.black, red.white) == (1 / 256, 1 / 256)
    (split, path), *others = red.paths
    assert (split, others) == ("train", [])
    assert path.startswith("M0 100V4.0H4V4.0H8")  # all levels alike: every step at the top
    assert path.endswith("H256V100Z")


def test_a_pile_of_clipped_pixels_does_not_flatten_the_curve() -> None:
    levels = [10] * 255 + [1_000_000]
    path = charts.channels(reports.contract(), {"train": [levels] * 3})[0].paths[0][1]
    assert set(re.findall(r"V([\d.]+)H", path)) == {"4.0"}


def test_strips_join_the_pictures_of_one_source() -> None:
    first, second = reports.summary().thumbnails
    other = dataclasses.replace(first, split="test", label="sound", uri="in/c.jpg", copy=0)
    found = report.strips([other, first, second])
    assert list(found) == ["train", "test"]
    assert [[t.copy for t in s.pictures] for s in found["train"]["cracked"]] == [[0, 1]]
    assert [s.uri for s in found["test"]["sound"]] == ["in/c.jpg"]


def test_images_without_classes_are_shown_in_one_gallery() -> None:
    """Of 40 images with an age each, 18 are shown: the youngest, the oldest, and others at equal distances."""
    first = reports.summary().thumbnails[0]
    ages = [dataclasses.replace(first, uri=f"in/{age}.jpg", label=f"age {age}", copy=0) for age in range(40)]
    shown = [strip.label for strip in report.gallery(report.strips(ages)["train"])]
    assert len(shown) == 18
    assert shown[:4] == ["age 0", "age 2", "age 5", "age 7"]
    assert shown[-2:] == ["age 37", "age 39"]
    assert len(report.gallery(report.strips(ages[:5])["train"])) == 5

    task = Task("regression", ("age",), (1.0,), (1.0,))
    of_age_7 = reports.summary(thumbnails=(dataclasses.replace(first, label="7"),))
    page = report.render(reports.contract(task=task), of_age_7)
    assert '<h4 title="age 7">age 7</h4>' in page


def test_examples_of_policies_are_a_few_of_each_and_no_strips() -> None:
    """Picture 0 is of gray alone; 1 to 5 of gray and alpha: each is shown once."""
    first = reports.summary().thumbnails[0]
    of = [
        dataclasses.replace(first, uri=f"in/{i}.png", policies=("gray", "alpha") if i else ("gray",)) for i in range(7)
    ]
    found = report.examples([first, *of])
    assert {policy: [t.uri for t in shown] for policy, shown in found.items()} == {
        "alpha": ["in/3.png", "in/4.png", "in/5.png"],
        "gray": ["in/0.png", "in/1.png", "in/2.png"],
    }
    page = report.render(reports.contract(), reports.summary(thumbnails=(first, of[0])))
    assert page.count("What conversions do") == 1
    assert page.count("in/0.png") == 3  # the title, the text and the description of one picture
    assert "What conversions do" not in report.render(reports.contract(), reports.summary())


def test_numbers_are_told_shortly() -> None:
    assert [text.byte_size(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5 GiB"]
    assert text.general(-1.98765) == "−1.988"
    assert html_page.tail("abcdefgh", 4) == "…fgh"
    assert text.printable("a\nb\u202ec\udcff") == "a\\u000ab\\u202ec\\udcff"
    assert report.flatten({"b": [1, 2.5], "a": "", "c": {}}) == [("a", "not set"), ("b", "1, 2.5"), ("c", "none")]


def test_options_that_ask_for_nothing_are_left_out() -> None:
    settings = {
        "seed": 0, "workers": 0, "balance": "none", "augment": {"flip": 1, "erase": 0}, "max_copies": 10,
        "jpeg_quality": 95, "image_root": "", "include": [], "find_images": False, "like": None, "layout": "auto",
        "classes": {"path": "", "names": [], "others": None}, "splits": {"train": 0.9, "test": 0.1},
    }  # fmt: skip
    plain = reports.summary(classes={"train": {"ant": ClassCounts(2, 2)}}, settings=settings)
    shown = {"--seed": 0, "--balance": "none", "--splits": {"train": 0.9, "test": 0.1}}
    assert report.asked(plain, reports.contract(encoding="uint8")) == shown
    copied = dataclasses.replace(plain, classes={"train": {"ant": ClassCounts(2, 3, 1)}})
    of_copies = {"--augment": {"flip": 1, "erase": 0}, "--max-copies": 10}
    assert report.asked(copied, reports.contract(encoding="uint8")) == shown | of_copies
    assert report.asked(plain, reports.contract(encoding="jpeg")) == shown | {"--jpeg-quality": 95}
    page = report.render(reports.contract(), plain)
    assert "--splits" in page
    assert "layout" not in page
