"""The progress line: its text, and where it appears."""

from __future__ import annotations

import io
import time

import pytest

from pipelines.core.console import progress


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 0, 0.0, "reading: 0 images, 0/s"),
        (1500, 0, 3.0, "reading: 1,500 images, 500/s"),
        (250, 1000, 10.0, "reading: 250 of 1,000 images, 25/s, 0:30 left"),
        (0, 1000, 10.0, "reading: 0 of 1,000 images, 0/s"),
        (1000, 1000, 10.0, "reading: 1,000 of 1,000 images, 100/s, 0:00 left"),
        (1200, 1000, 10.0, "reading: 1,200 of 1,000 images, 120/s, 0:00 left"),
        (1, 10_000, 1.0, "reading: 1 of 10,000 images, 1/s, 166:39 left"),
    ],
)
def test_line(done, total, seconds, text):
    assert progress.line(done, total, seconds, "reading") == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(stream: io.StringIO, text: str) -> None:
    end = time.monotonic() + 10
    while text not in stream.getvalue() and time.monotonic() < end:
        time.sleep(0.01)
    assert text in stream.getvalue()


def test_plain_lines_elsewhere():
    out = io.StringIO()
    progress.begin("preparing", 40)
    with progress.shown(out, every=0.02):
        progress.advance(10)
        progress.advance(5)
        wait_for(out, "preparing: 15 of 40 images")

    lines = out.getvalue().split("\n")
    assert lines.pop() == ""
    assert all(line.startswith("preparing: ") for line in lines)
    assert "\r" not in out.getvalue()


def test_one_line_rewritten_and_wiped_on_a_terminal():
    out = Terminal()
    progress.begin("preparing", 0)
    with progress.shown(out):
        progress.advance(3)
        wait_for(out, "preparing: 3 images")

    assert "\n" not in out.getvalue()
    assert out.getvalue().endswith(f"\r{'':<78}\r")


def test_a_new_stage_counts_from_zero():
    out = io.StringIO()
    progress.begin("reading", 0)
    with progress.shown(out, every=0.02):
        progress.advance(7)
        wait_for(out, "reading: 7 images")
        progress.begin("preparing", 9)
        progress.advance(2)
        wait_for(out, "preparing: 2 of 9 images")


def test_the_line_ends_with_the_body_even_after_an_error():
    out = io.StringIO()
    with pytest.raises(ZeroDivisionError), progress.shown(out, every=0.01):
        progress.advance(1 // 0)
    written = out.getvalue()
    time.sleep(0.05)
    assert out.getvalue() == written


def test_a_storage_that_does_not_answer_is_asked_again():
    out, answers = io.StringIO(), iter([ConnectionError("reset"), (3, 9)])

    def shards() -> tuple[int, int]:
        answer = next(answers, (3, 9))
        if isinstance(answer, Exception):
            raise answer
        return answer

    with progress.shown(out, every=0.01, shards=shards):
        wait_for(out, "preparing: 3 of 9 shards")
    assert out.getvalue().startswith("preparing: the storage does not answer\n")
