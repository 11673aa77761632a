"""Several labels and numbers from a table to batches: exact contents, equal bytes, and what is refused."""

from __future__ import annotations

import collections
import csv
import hashlib
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from pipelines import contract
from pipelines.config import PrepareConfig
from pipelines.core.errors import NothingUsableError, TableError
from pipelines.dataset import describe, source_changes, verify
from pipelines.inputs import listing
from pipelines.job import prepare
from tests.support.files.images import draw_photo
from trainer import dataset

IMAGES = 60
KEYS = ("split", "group")


def labels_of(number: int) -> list[str]:
    """cat on every second picture, dog on every third, owl on every twelfth; some have several and some none."""
    return [label for label, every in (("cat", 2), ("dog", 3), ("owl", 12)) if number % every == 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Pictures 00.png to 59.png, and no table yet."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(IMAGES):
        draw_photo(root / f"{number:02d}.png", number, (24, 24))
    return root


def table(path: pathlib.Path, heading: list[str], rows) -> pathlib.Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    return path


def of_labels(folder: pathlib.Path, name: str = "labels.csv") -> pathlib.Path:
    rows = [(f"{n:02d}.png", "|".join(labels_of(n))) for n in range(IMAGES)]
    return table(folder / name, ["filename", "labels"], rows)


def run(path: pathlib.Path, out: pathlib.Path, **options):
    options = {"labels": "multi", "size": (8, 8), "encoding": "uint8", "thumbnails": 1, "workers": 2} | options
    return prepare.prepare(PrepareConfig(input=str(path), output=str(out), **options))


def stored(out: pathlib.Path, split: str) -> dict[str, list[float]]:
    """Name of the picture -> target, of the records of a split by way of the loader and the ledger."""
    c = contract.load(out)
    names = [
        json.loads(line)["uri"].rsplit("/", 1)[-1]
        for shard in c.splits[split].shards
        for line in (out / "ledger" / f"{shard.file}.jsonl").read_text().splitlines()
    ]
    assert len(c.splits[split].shards) == 1  # so that the loader's order is that of the ledger
    targets = np.concatenate([y.numpy() for _, y in dataset.load(out, split, 7)])
    return dict(zip(names, targets.tolist(), strict=True))


def digests(out: pathlib.Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.tfrecord-*"))}


@pytest.fixture(scope="module")
def several(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("several") / "pets"
    return out, run(of_labels(folder), out)


@pytest.mark.slow
def test_records_hold_the_labels_of_the_table_and_the_contract_counts_them(several):
    out, result = several
    c = result.contract
    assert c.labels == ("cat", "dog", "owl")
    assert c.task.kind == "multi-label"
    assert contract.load(out) == c
    found = {name: target for split in c.splits for name, target in stored(out, split).items()}
    assert found == {f"{n:02d}.png": [float(label in labels_of(n)) for label in c.labels] for n in range(IMAGES)}
    natural = sum((collections.Counter(split.natural) for split in c.splits.values()), collections.Counter())
    assert natural == {"cat": 30, "dog": 20, "owl": 5}
    assert sum(images["natural"] for images in c.task.images.values()) == IMAGES
    assert c.splits["train"].natural == {"cat": 24, "dog": 16, "owl": 4}
    assert verify.verify(str(out)) == []
    assert list(source_changes.find(str(out)).changes) == []


@pytest.mark.slow
def test_the_report_and_the_summary_count_labels_and_pairs(several):
    out, result = several
    summary = json.loads((out / "stats/summary.json").read_text())
    assert summary["answers"]["pairs"] == [["cat", "dog", 10], ["cat", "owl", 5], ["dog", "owl", 5]]
    assert summary["answers"]["labels_an_image"] == {"0": 20, "1": 30, "2": 5, "3": 5}
    assert result.summary.written == IMAGES
    page = (out / "report.html").read_text()
    assert "60 images with 3 labels" in page
    assert re.search(r"cat.{0,60}dog.{0,60}10", page, re.DOTALL)
    said = describe.describe(out)
    assert "multi-label" in said
    images = result.contract.task.images["train"]["natural"]
    assert re.search(rf"all +{images} +{images} +0", said)


@pytest.mark.slow
def test_verify_compares_targets_with_the_ledger(several, tmp_path):
    out, result = several
    copy = tmp_path / "pets"
    shutil.copytree(out, copy)
    file = result.contract.splits["test"].shards[0].file
    ledger = copy / "ledger" / f"{file}.jsonl"
    lines = ledger.read_text().splitlines()
    was = json.loads(lines[0])
    ledger.write_text("\n".join([json.dumps({**was, "label": "cat|owl"}), *lines[1:]]) + "\n")

    [problem, changed] = verify.verify(str(copy))

    assert f"its label is {was['label']!r}. The ledger says 'cat|owl'." in problem
    assert changed.startswith(f"ledger/{file}.jsonl")


@pytest.mark.slow
def test_tfds_reads_targets(several):
    tfds = pytest.importorskip("tensorflow_datasets")
    out, _ = several
    builder = tfds.builder_from_directory(str(out))
    assert builder.info.features["target"].shape == (3,)
    rows = list(tfds.as_numpy(builder.as_dataset(split="train")))
    found = collections.Counter(tuple(row["target"].tolist()) for row in rows)
    assert found == collections.Counter(map(tuple, stored(out, "train").values()))


@pytest.mark.slow
def test_rows_in_another_order_and_other_workers_give_the_same_shards(several, folder, tmp_path):
    out, _ = several
    rows = [(f"{n:02d}.png", " | ".join(reversed(labels_of(n)))) for n in reversed(range(IMAGES))]
    other = tmp_path / "pets"
    run(table(folder / "reversed.csv", ["filename", "labels"], rows), other, workers=1)

    assert digests(other) == digests(out)


NAMES = ("cat", "dog", "owl")
FORMS = {
    "json lists": (["filename", "labels"], lambda n: [json.dumps(labels_of(n))]),
    "semicolons": (["filename", "labels"], lambda n: [";".join(labels_of(n))]),
    "blanks": (["filename", "tags"], lambda n: [" ".join(labels_of(n))]),
    "roboflow": (["filename", " cat", " dog", " owl"], lambda n: [int(x in labels_of(n)) for x in NAMES]),
    "celeba": (["filename", *NAMES], lambda n: [1 if x in labels_of(n) else -1 for x in NAMES]),
}  # fmt: skip


def sources(path: pathlib.Path, **options) -> list[object]:
    """What a run reads of a table; everything that follows is a function of it."""
    config = PrepareConfig(input=str(path), output="out", labels="multi", **options)
    return sorted(listing.list_sources(listing.check(config.input_spec, config.allow_lost_classes).spec))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_labels_gives_the_same_sources(folder, form):
    heading, cells = FORMS[form]
    path = table(folder / f"{form}.csv", heading, [(f"{n:02d}.png", *cells(n)) for n in range(IMAGES)])
    separator = (
        "space" if form == "blanks" else ""
    )  # each owl is a cat and a dog, so it is not plain that owl is a label
    found = sources(path, label_separator=separator)
    assert len(found) == IMAGES
    assert found == sources(of_labels(folder))


@pytest.mark.slow
def test_a_row_for_each_label_adds_up(several, folder, tmp_path):
    out, _ = several
    rows = [(f"{n:02d}.png", label) for n in range(IMAGES) for label in labels_of(n) or [""]]
    result = run(table(folder / "long.csv", ["filename", "labels"], rows), tmp_path / "pets")

    assert result.summary.read == IMAGES
    assert digests(tmp_path / "pets") == digests(out)


@pytest.mark.slow
def test_groups_stay_in_one_split_and_stated_splits_are_kept(folder, tmp_path):
    rows = [(f"{n:02d}.png", "|".join(labels_of(n)), f"g{n // 5}", "test" if n >= 55 else "") for n in range(IMAGES)]
    path = table(folder / "groups.csv", ["filename", "labels", "group", "split"], rows)
    c = run(path, tmp_path / "pets", splits={"train": 0.7, "validation": 0.3}).contract

    splits_of = collections.defaultdict(set)
    for split in c.splits:
        for name in stored(tmp_path / "pets", split):
            splits_of[int(name[:2]) // 5].add(split)
    assert all(len(found) == 1 for found in splits_of.values())
    assert splits_of[11] == {"test"}
    assert {split: images["natural"] for split, images in c.task.images.items()} == {
        "train": 40, "validation": 15, "test": 5,
    }  # fmt: skip


@pytest.mark.slow
def test_the_rarest_label_decides_about_copies(folder, tmp_path):
    c = run(of_labels(folder), tmp_path / "pets", balance="uniform", max_copies=4).contract
    train = c.splits["train"]

    # 24 cats, 16 dogs, 4 owls: an image with a dog becomes 1.5 records, one with an owl 4 (and not 6) of them.
    assert train.natural == {"cat": 24, "dog": 16, "owl": 4}
    assert train.stored["owl"] == 16
    assert train.stored["dog"] == 16 + 18
    assert verify.verify(str(tmp_path / "pets")) == []


@pytest.mark.slow
def test_classes_rename_merge_and_leave_out_labels(folder, tmp_path):
    (folder / "classes.csv").write_text("label,class\ndog,pet\ncat,pet\nowl,\n")
    from pipelines.inputs import classes_file

    c = run(of_labels(folder), tmp_path / "pets", classes=classes_file.read(str(folder / "classes.csv"))).contract

    assert c.labels == ("pet",)
    found = {name: target for split in c.splits for name, target in stored(tmp_path / "pets", split).items()}
    assert found == {f"{n:02d}.png": [float(n % 2 == 0 or n % 3 == 0)] for n in range(IMAGES)}


@pytest.mark.slow
def test_a_table_without_any_label_is_refused(folder, tmp_path):
    path = table(folder / "none.csv", ["filename", "labels"], [(f"{n:02d}.png", "") for n in range(9)])
    with pytest.raises(NothingUsableError, match="No image that can be used has a label"):
        run(path, tmp_path / "pets")


def test_a_table_of_several_labels_names_the_option(folder, tmp_path):
    with pytest.raises(TableError, match="If an image may have several labels: --labels multi"):
        run(of_labels(folder), tmp_path / "pets", labels="one")


def age_of(number: int) -> float:
    return number * number / 10


def of_ages(folder: pathlib.Path) -> pathlib.Path:
    rows = [(f"{n:02d}.png", age_of(n), -n, "x") for n in range(IMAGES)]
    return table(folder / "ages.csv", ["filename", "age", "depth", "label"], rows)


@pytest.fixture(scope="module")
def numbers(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("numbers") / "ages"
    return out, run(of_ages(folder), out, labels="one", target=("age", "depth"))


@pytest.mark.slow
def test_records_hold_the_numbers_and_the_contract_their_statistics(numbers):
    out, result = numbers
    c = result.contract
    assert (c.labels, c.target_width, c.task.targets) == ((), 2, ("age", "depth"))
    assert contract.load(out) == c
    assert all(split.natural == {} for split in c.splits.values())
    by_split = {split: stored(out, split) for split in c.splits}
    assert {name: target for found in by_split.values() for name, target in found.items()} == {
        f"{n:02d}.png": [float(np.float32(age_of(n))), -float(n)] for n in range(IMAGES)
    }
    train = np.array(list(by_split["train"].values()), np.float64)
    np.testing.assert_allclose(c.task.mean, train.mean(0), rtol=1e-6)
    np.testing.assert_allclose(c.task.std, train.std(0), rtol=1e-6)
    np.testing.assert_allclose(c.task.median, np.median(train, 0), rtol=1e-6)
    assert c.task.least == tuple(train.min(0))
    assert c.task.greatest == tuple(train.max(0))
    assert {split: images["stored"] for split, images in c.task.images.items()} == {
        split: len(found) for split, found in by_split.items()
    }
    assert verify.verify(str(out)) == []


@pytest.mark.slow
def test_splits_follow_the_quantiles(numbers):
    out, _ = numbers
    for split in ("train", "validation", "test"):
        ages = [age for age, _ in stored(out, split).values()]
        assert min(ages) < age_of(20), split
        assert max(ages) > age_of(40), split


@pytest.mark.slow
def test_the_graph_makes_the_pixels_of_the_records(numbers):
    out, _ = numbers
    import tensorflow as tf

    _, images = contract.load_transform(out)
    c = contract.load(out)
    line = json.loads((out / "ledger" / f"{c.splits['train'].shards[0].file}.jsonl").read_text().splitlines()[0])
    made = images(tf.constant([pathlib.Path(line["uri"]).read_bytes()]))
    x, _ = next(iter(dataset.load(out, "train", 1)))
    np.testing.assert_array_equal(made.numpy(), x.numpy())


@pytest.mark.slow
def test_numbers_have_the_same_shards_and_statistics_with_other_workers(numbers, folder, tmp_path):
    out, result = numbers
    again = run(of_ages(folder), tmp_path / "ages", labels="one", target=("age", "depth"), workers=1).contract

    assert digests(tmp_path / "ages") == digests(out)
    assert again.task == result.contract.task


@pytest.mark.slow
def test_a_constant_target_has_the_deviation_one(folder, tmp_path):
    path = table(folder / "constant.csv", ["filename", "age"], [(f"{n:02d}.png", 3) for n in range(IMAGES)])
    c = run(path, tmp_path / "ages", labels="one", target=("age",)).contract

    assert (c.task.mean, c.task.std, c.task.least, c.task.greatest) == ((3.0,), (1.0,), (3.0,), (3.0,))


@pytest.mark.slow
def test_a_row_without_a_number_is_a_reject_with_its_reason(folder, tmp_path):
    rows = [(f"{n:02d}.png", "old" if n == 7 else n) for n in range(IMAGES)]
    path = table(folder / "gaps.csv", ["filename", "age"], rows)
    result = run(path, tmp_path / "ages", labels="one", target=("age",), max_reject_rate=0.1)

    assert [(r.reason, r.detail) for r in result.summary.rejects] == [
        ("bad-row", "Row 8 should have a number as its age. Received: 'old'.")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"labels": "multi"}, {"labels": "one", "target": ("age", "depth")}])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(several, numbers, folder, tmp_path, options, monkeypatch):
    whole = (several if options["labels"] == "multi" else numbers)[0]
    path = of_labels(folder) if options["labels"] == "multi" else of_ages(folder)
    out = tmp_path / whole.name

    def stop(*_):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(prepare.publish, "publish", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            run(path, out, **options)
    run(path, out, **options)

    assert digests(out) == digests(whole)
    assert contract.load(out).task == contract.load(whole).task


@pytest.mark.slow
def test_a_dataset_of_several_labels_is_prepared_anew_from_its_own_shards(several, tmp_path):
    out, first = several
    again = run(out, tmp_path / "again", allow_outside=True, label_column="target", include=("*.tfrecord-*",)).contract

    counted = [sum((collections.Counter(s.natural) for s in c.splits.values()), collections.Counter())
               for c in (first.contract, again)]  # fmt: skip
    assert counted[0] == counted[1]
    assert again.labels == first.contract.labels
    assert {s: n["natural"] for s, n in again.task.images.items()} == {
        s: n["natural"] for s, n in first.contract.task.images.items()
    }


@pytest.mark.slow
def test_a_dataset_of_another_task_takes_the_place_of_one_as_a_whole(several, folder, tmp_path):
    out = tmp_path / "pets"
    shutil.copytree(several[0], out)
    assert (out / "target.labels.txt").read_text() == "cat\ndog\nowl\n"

    run(of_ages(folder), out, labels="one", target=("age",))

    assert not (out / "target.labels.txt").exists()
    assert verify.verify(str(out)) == []
