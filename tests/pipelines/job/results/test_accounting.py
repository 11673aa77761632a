"""How many rejects are too many, and what is said of a class that is gone; on counts made by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.core import elements
from pipelines.core.errors import DataRejectedError, IncompleteError
from pipelines.core.summary import Rejected, Summary
from pipelines.inputs.listing import Reading
from pipelines.inputs.rules import InputSpec
from pipelines.job.results import accounting, publish, rejects_file
from pipelines.plan.balance import Copies
from pipelines.plan.plan import Plan
from pipelines.work_dir import Work
from tests.support import datasets


def summary(read: int, **rejected: int) -> Summary:
    rejects = tuple(Rejected(f"in/{reason}", "bee", "", "", "list", reason, "Why.") for reason in rejected)
    return Summary(
        read=read, classes={}, rejected=rejected, rejects=rejects, formats={}, conversions={}, widths={}, heights={},
        file_bytes={}, pixel_histogram={}, duplicate_groups=0, conflicting_groups=0, straddling_groups=0, duplicates=(),
        thumbnails=(), settings={}, engine={}, warnings=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("read", "bad", "rate", "fails"),
    [
        (100, 1, 0.01, False),  # as many as are allowed
        (100, 2, 0.01, True),
        (199, 2, 0.01, True),  # 1.005 of 100
        (200, 2, 0.01, False),
        (1000, 1, 0.0, True),
        (1000, 0, 0.0, False),
        (10, 10, 1.0, False),
    ],
)
def test_the_limit_of_rejects_is_exact(read, bad, rate, fails):
    counts = summary(read, empty=bad)
    if not fails:
        accounting.check_rejects(counts, rate, "rejected.jsonl")
        return
    with pytest.raises(DataRejectedError) as raised:
        accounting.check_rejects(counts, rate, "rejected.jsonl")
    assert str(raised.value) == (
        f"{bad} of {read} inputs were rejected ({bad / read:.1%}); --max-reject-rate allows {rate:.1%}. "
        f"empty {bad}, the first is 'in/empty': Why. Each is listed in rejected.jsonl. Nothing was published. "
        f"Mend or remove them, or permit it with --max-reject-rate {min(100, 100 * bad // read + 1) / 100:g}."
    )
    accounting.check_rejects(counts, min(100, 100 * bad // read + 1) / 100, "rejected.jsonl")


def test_the_harmless_reasons_are_those_that_are_no_fault_of_the_data():
    assert set(elements.HARMLESS) == {
        "hidden", "system-file", "other-file", "left-aside", "empty-folder", "no-label", "repeated-row", "duplicate",
        "conflicting-labels", "class-left-out", "has-a-label", "dropped",
    }  # fmt: skip


@pytest.mark.parametrize("reason", elements.HARMLESS)
def test_harmless_rejects_count_neither_as_bad_nor_as_inputs(reason):
    accounting.check_rejects(summary(1000, **{reason: 900, "empty": 1}), 0.01, "")  # 1 of 100
    with pytest.raises(
        DataRejectedError, match=r"^2 of 100 inputs were rejected \(2\.0%\).* 1\.0%\. empty 2, the first is 'in/empty'"
    ):
        accounting.check_rejects(summary(1000, **{reason: 900, "empty": 2}), 0.01, "")  # 2 of 100, not 2 of 1000


def test_the_first_of_each_reason_is_told_however_late_it_comes(tmp_path):
    many = [Rejected(f"in/{i:04d}", "bee", "", "", "decode", "undecodable", f"Break {i}.") for i in range(400)]
    last = Rejected("in/z", "bee", "", "", "decode", "too-large", "9" * 999)
    harmless = Rejected("in/y", "bee", "", "", "list", "hidden", "Dot.")
    found = rejects_file.write([last, *reversed(many), harmless], str(tmp_path / "rejected.jsonl"))
    counts = dataclasses.replace(summary(402), rejected=dict(found.reasons), rejects=found.first)

    with pytest.raises(DataRejectedError) as raised:
        accounting.check_rejects(counts, 0.01, "rejected.jsonl")

    assert len(found.first) == rejects_file.MAX_LISTED + 2
    assert str(raised.value) == (
        "401 of 401 inputs were rejected (100.0%); --max-reject-rate allows 1.0%. undecodable 400, the first is "
        f"'in/0000': Break 0. too-large 1, the first is 'in/z': {'9' * 299}…. Each is listed in rejected.jsonl. "
        "Nothing was published. Mend or remove them, or permit it with --max-reject-rate 1."
    )


def test_of_many_reasons_the_most_frequent_are_told():
    counts = summary(100, **{f"reason-{i}": i + 1 for i in range(10)})
    with pytest.raises(DataRejectedError, match=r"reason-9 10, .* reason-2 3, [^,]*: Why\. 2 more reasons\. Each"):
        accounting.check_rejects(counts, 0.01, "")


def test_only_harmless_rejects_are_never_too_many():
    accounting.check_rejects(summary(3, hidden=3), 0.0, "")


def test_classes_of_which_nothing_is_left_refuse_the_dataset_unless_allowed():
    lost = dataclasses.replace(summary(1000, duplicate=3), lost_classes={"dog": 3, "b" * 99: 1})
    with pytest.raises(DataRejectedError, match=rf"would be missing: {'b' * 79}… \(1\), dog \(3\)\. .*--allow-lost-cl"):
        accounting.check_rejects(lost, 0.5, "rejected.jsonl")
    accounting.check_rejects(lost, 0.5, "rejected.jsonl", allow_lost_classes=True)


def test_what_counts_as_a_loss_of_a_class(tmp_path):
    def reject(label: str, reason: str) -> Rejected:
        return Rejected(f"in/{label}/{reason}", label, "", "", "list", reason, "A sentence.")

    rejected = rejects_file.write(
        [reject("dog", "crashed"), reject("dog", "empty"), reject("ant", "empty-folder"), reject("cow", "duplicate"),
         reject(".git", "hidden"), reject("", "no-label")],
        str(tmp_path / "rejected.jsonl"),
    )  # fmt: skip
    assert rejected.faults == {"dog": 2, "ant": 1}


READING = Reading(InputSpec("in"), ("Reads it.",))


@pytest.fixture
def work(tmp_path) -> Work:
    """A finished job: three bees in one shard, one of them with a copy, and one file that was no image."""
    made = Work(str(tmp_path / "work"))
    plan = Plan(("bee",), {"train": {"bee": 3}}, {"train": 4}, {"train": 1}, {"bee": Copies(1, 9)})
    account = {
        "file": "out-train.tfrecord-00000-of-00001", "split": "train", "records": 4, "stored": {"bee": 4},
        "copies": {"bee": 1}, "formats": {"png": 3}, "conversions": {}, "widths": {"16": 3}, "heights": {"16": 3},
        "file_bytes": {"512": 3}, "levels": [[1] * 256] * 3, "rejects": [], "thumbnails": [], "weighted": False,
        "source_digest": "0" * 64, "ledger_sha256": "0" * 64, "depth": [], "metadata": [],
    }  # fmt: skip
    reject = {"uri": "in/bee/notes.jpg", "label": "bee", "split": "", "digest": "", "stage": "fingerprint",
              "reason": "not-an-image", "detail": ""}  # fmt: skip
    storage.write_text(made.path("plan.json"), plan.to_json())
    storage.write_text(made.path("staged", f"{account['file']}.json"), json.dumps(account))
    storage.write_text(made.path("rejects", "part-00000.jsonl"), json.dumps(reject) + "\n")
    return made


@pytest.mark.parametrize(("listed", "unexplained"), [(4, 0), (5, 1), (3, -1)])
def test_every_input_is_written_left_out_or_rejected(work, tmp_path, listed, unexplained):
    storage.write_text(work.path(work_dir.LISTED), str(listed))
    config = PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), splits={"train": 1.0})
    if not unexplained:
        found, _ = accounting.summarize(config, READING, work, accounting.read_plan(work), {})
        assert (found.read, found.classes["train"]["bee"].natural, found.rejected) == (4, 3, {"not-an-image": 1})
        return
    with pytest.raises(
        IncompleteError, match=f"{listed} inputs were listed, but 3 images and 1 rejects .*: {unexplained} are"
    ):
        accounting.summarize(config, READING, work, accounting.read_plan(work), {})


def test_a_class_that_vanished_before_the_listing_is_lost(work, tmp_path):
    """Of bees there are images, and of ants a duplicate: the same picture is elsewhere. Of eels nothing was listed."""
    storage.write_text(work.path(work_dir.LISTED), "5")
    ant = {"uri": "in/ant/0.jpg", "label": "ant", "split": "", "digest": "", "stage": "plan", "reason": "duplicate",
           "detail": ""}  # fmt: skip
    storage.write_text(work.path("rejects", "part-00001.jsonl"), json.dumps(ant) + "\n")
    config = PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), splits={"train": 1.0})
    reading = READING._replace(images={"bee": 4, "ant": 1, "eel": 7, "a\nb": 1})
    found, _ = accounting.summarize(config, reading, work, accounting.read_plan(work), {})
    assert found.lost_classes == {"eel": 7}


def test_a_finished_shard_of_fewer_records_than_its_account_is_not_published(work):
    file = "out-train.tfrecord-00000-of-00001"
    storage.write_text(work.path("shards", f"{file}.json"), json.dumps({"file": file, "records": 3}))
    assert publish._note(work, file, 3) == {"file": file, "records": 3}
    with pytest.raises(IncompleteError, match=r"should hold 4 records\. It holds 3\. Run it again"):
        publish._note(work, file, 4)


def test_what_is_not_as_in_the_earlier_dataset_is_told(work):
    """The plan has bees; the earlier dataset had the classes of its contract, and bees are new."""
    storage.write_text(work.path(work_dir.LISTED), "4")
    lines = ({"kept": 2, "new": 0, "moved": 2, "gone": ["o/b.jpg"]}, {"kept": 0, "new": 1, "moved": 0, "gone": ["o/a"]})
    storage.write_text(work.path("like", "part-00000.jsonl"), "".join(json.dumps(line) + "\n" for line in lines))
    old = datasets.make_contract(labels=("ant",))
    plan = dataclasses.replace(accounting.read_plan(work), labels=("ant", "bee"))
    config = PrepareConfig(input="in", output="out", like="first", splits={"train": 1.0})
    found, _ = accounting.summarize(config, READING, work, plan, {}, old)
    assert found.like == {"kept": 2, "new": 1, "gone": 2}
    assert list(found.warnings) == [
        "These classes have an id and no image: ant.",
        "2 images of 'first' are not in the input any more; the first is o/a.",
        "2 images keep their split of 'first', although the input states another split.",
        "Classes that 'tiny' does not have got the next ids: 'bee'. Its models do not know them, and cannot be "
        "evaluated on this dataset.",
    ]
