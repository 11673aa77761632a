"""The whole pipeline on a small folder: what is counted, what is stored, and that runs agree to the byte."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract, storage
from pipelines.config import PrepareConfig
from pipelines.core import elements, hashing
from pipelines.core.errors import (
    ConfigError,
    DataRejectedError,
    EngineError,
    IncompleteError,
    NothingUsableError,
    SourceError,
)
from pipelines.images import augment
from pipelines.images.files import formats
from pipelines.images.graph import decode
from pipelines.job import prepare, split_units, stages, worker_tasks
from pipelines.records import shard_writer
from pipelines.workers import pool


def digests(directory: pathlib.Path) -> dict[str, str]:
    """Shard name -> SHA-256, of the files themselves."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.glob("*.tfrecord-*"))}


def read_split(directory: pathlib.Path, c: contract.Contract, split: str) -> list[dict[str, object]]:
    """Every record of a split in order, with its line of the ledger."""
    rows = []
    for shard in c.splits[split].shards:
        lines = (directory / "ledger" / f"{shard.file}.jsonl").read_text().splitlines()
        stored = list(tf.data.TFRecordDataset(str(directory / shard.file)))
        assert len(stored) == len(lines) == shard.records
        for serialized, line in zip(stored, lines, strict=True):
            parsed = tf.io.parse_single_example(serialized, contract.feature_spec(c))
            rows.append({**{k: v.numpy() for k, v in parsed.items()}, "ledger": json.loads(line)})
    return rows


def test_counts_agree_everywhere(prepared, photos):
    out, result, _ = prepared
    c = contract.load(out)
    assert c == result.contract
    assert c.labels == ("ant", "bee", "cat")
    natural = collections.Counter()
    for split in c.splits.values():
        natural.update(split.natural)
    assert natural == {"ant": 27, "bee": 8, "cat": 5}
    files = sum(1 for p in photos.rglob("*") if p.is_file())
    s = result.summary
    assert s.read == files == 41
    assert s.rejected == {"not-an-image": 1} == c.rejected
    assert [os.path.basename(r.uri) for r in s.rejects] == ["notes.jpg"]
    assert s.read == sum(natural.values()) + sum(s.rejected.values())
    for name, split in c.splits.items():
        rows = read_split(out, c, name)
        by_label = collections.Counter(c.labels[int(r["label"])] for r in rows)
        assert by_label == {label: n for label, n in split.stored.items() if n}
        copies = collections.Counter(r["ledger"]["label"] for r in rows if r["ledger"]["copy"])
        assert copies == {label: n for label, n in split.copies.items() if n}
        for label in c.labels:
            assert split.stored[label] - split.copies[label] == split.natural[label]
    info = json.loads((out / "dataset_info.json").read_text())
    assert {s["name"]: [int(n) for n in s["shardLengths"]] for s in info["splits"]} == {
        name: [shard.records for shard in split.shards] for name, split in c.splits.items()
    }


def test_balance_touches_the_train_split_only(prepared):
    _, result, _ = prepared
    splits = result.contract.splits
    train = splits["train"]
    largest = max(train.natural.values())
    wanted = {label: min(largest, 10 * count) for label, count in train.natural.items()}
    assert dict(train.stored) == wanted
    for name in ("validation", "test"):
        assert splits[name].stored == splits[name].natural
        assert not any(splits[name].copies.values())
        assert all(splits[name].natural[label] >= 1 for label in result.contract.labels if label != "cat")


@pytest.mark.slow
def test_every_stored_pixel_is_what_its_source_says(prepared):
    out, result, config = prepared
    c = result.contract
    spec = config.image_spec
    seen_copies = 0
    for split in c.splits:
        for row in read_split(out, c, split):
            ledger = row["ledger"]
            data = pathlib.Path(ledger["uri"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == ledger["digest"]
            pixels = decode.to_pixels(tf.constant(formats.canonical(data)), spec).numpy()
            if ledger["copy"]:
                seen_copies += 1
                key = os.path.relpath(ledger["uri"], config.input)
                pixels = augment.apply(pixels, augment.draw(config.augment, config.seed, key, ledger["copy"]))
            expected = contract.normalize(c, pixels).numpy().astype(np.float16).astype(np.float32)
            stored = contract.images_from_records(c, tf.constant([row["image"]]))[0].numpy()
            np.testing.assert_array_equal(stored, expected)
    assert seen_copies > 10


def test_the_transform_graph_gives_exactly_the_records(prepared):
    out, result, _ = prepared
    c = result.contract
    _, graph = contract.load_transform(out)
    rows = [r for split in c.splits for r in read_split(out, c, split) if not r["ledger"]["copy"]]
    sources = [formats.canonical(pathlib.Path(r["ledger"]["uri"]).read_bytes()) for r in rows]
    np.testing.assert_array_equal(
        graph(tf.constant(sources)).numpy(),
        contract.images_from_records(c, tf.constant([r["image"] for r in rows])).numpy(),
    )


def test_the_transform_graph_knows_the_labels(prepared):
    out, result, _ = prepared
    loaded = tf.saved_model.load(str(out / "transform_fn"))
    names = [*result.contract.labels, "dragon"]
    png = tf.io.encode_png(tf.zeros((2, 2, 3), tf.uint8))
    zeros = {n: tf.zeros((len(names), w), tf.int64) for n, w in contract.ANALYSIS_COLUMNS.items()}
    result_ids = loaded.transform_fn({"image": tf.stack([png] * len(names)), "label": tf.constant(names), **zeros})
    assert result_ids["label"].numpy().tolist() == [0, 1, 2, -1]


def test_statistics_are_those_of_the_train_originals(prepared):
    out, result, config = prepared
    c = result.contract
    originals = [r for r in read_split(out, c, "train") if not r["ledger"]["copy"]]
    spec = config.image_spec
    pixels = np.stack(
        [
            decode.to_pixels(tf.constant(formats.canonical(pathlib.Path(r["ledger"]["uri"]).read_bytes())), spec)
            for r in originals
        ]
    ).astype(np.float64)
    np.testing.assert_allclose(c.normalization.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(c.normalization.std, pixels.std((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(c.normalization.scale, 1 / pixels.std((0, 1, 2)), rtol=1e-6)
    stored = contract.images_from_records(c, tf.constant([r["image"] for r in originals])).numpy()
    np.testing.assert_allclose(stored.mean((0, 1, 2)), 0, atol=2e-3)
    np.testing.assert_allclose(stored.std((0, 1, 2)), 1, atol=2e-3)


def test_equal_images_stay_together_and_conflicts_are_named(prepared):
    out, result, _ = prepared
    s = result.summary
    assert (s.duplicate_groups, s.conflicting_groups, s.straddling_groups) == (2, 1, 0)
    conflict = s.duplicates[0]
    assert conflict.conflicting
    assert sorted((os.path.basename(uri), label) for uri, label, _ in conflict.members) == [
        ("00.jpg", "bee"),
        ("again.jpg", "bee"),
        ("of-a-bee.jpg", "ant"),
    ]
    for group in s.duplicates:
        assert len({split for _, _, split in group.members}) == 1
    by_digest = collections.defaultdict(set)
    for split in result.contract.splits:
        for row in read_split(out, result.contract, split):
            by_digest[row["ledger"]["digest"]].add(split)
    assert all(len(splits) == 1 for splits in by_digest.values())


def test_records_stand_in_hash_order_across_shards(prepared):
    out, result, config = prepared
    for split in result.contract.splits:
        positions = [
            hashing.position(
                config.seed, "order", os.path.relpath(r["ledger"]["uri"], config.input), r["ledger"]["copy"]
            )
            for r in read_split(out, result.contract, split)
        ]
        assert positions == sorted(positions)
        assert len(set(positions)) == len(positions)


@pytest.mark.slow
def test_a_second_run_agrees_to_the_byte(prepared, photos, tmp_path):
    """Another folder, filled in another order, with one thread instead of two, under another Beam mode."""
    out, _, config = prepared
    moved = tmp_path / "elsewhere"
    for path in sorted(photos.rglob("*"), key=lambda p: hashlib.md5(str(p).encode()).digest()):
        if path.is_file():
            target = moved / path.relative_to(photos)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    again = dataclasses.replace(config, input=str(moved), output=str(tmp_path / "insects"), workers=1)
    prepare.prepare(again, ["--direct_num_workers=2", "--direct_running_mode=multi_threading"])
    assert digests(tmp_path / "insects") == digests(out)
    assert contract.load(tmp_path / "insects").source_digest == contract.load(out).source_digest


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(prepared, tmp_path, monkeypatch):
    out, _, config = prepared
    again = dataclasses.replace(config, output=str(tmp_path / "insects"))
    finish, number = shard_writer.finish_shard, itertools.count()

    def fails_after_two(*args):
        if next(number) >= 2:
            raise OSError(28, "No space left on device")
        return finish(*args)

    monkeypatch.setattr(shard_writer, "finish_shard", fails_after_two)
    with pytest.raises(RuntimeError, match="No space left"):  # as Beam wraps an OSError
        prepare.prepare(again)
    assert not (tmp_path / "insects/contract.json").exists()
    work = tmp_path / "insects/.shardmill"
    kept = {p: p.stat().st_mtime_ns for p in [*(work / "staged").iterdir(), *(work / "shards").iterdir()]}
    assert len([p for p in kept if p.parent.name == "shards"]) == 4  # two shards and their notes
    monkeypatch.undo()

    submit, asked = pool.Workers.submit, []

    def counts(self, task, *args):
        asked.append(task)
        return submit(self, task, *args)

    monkeypatch.setattr(pool.Workers, "submit", counts)
    moved_times = {}
    publish = prepare.publish.publish

    def spy(*args):
        moved_times.update({p: p.stat().st_mtime_ns for p in kept if p.exists()})
        publish(*args)

    monkeypatch.setattr(prepare.publish, "publish", spy)
    prepare.prepare(again)
    assert moved_times == kept
    assert "fingerprint" in asked
    assert "make" not in asked  # nothing is decoded again
    assert asked.count("finish") == len(contract.load(out).splits) * 2 - 2  # two of them were finished before
    assert digests(tmp_path / "insects") == digests(out)
    assert not work.exists()


@pytest.mark.slow
def test_a_source_is_decoded_once_for_each_shard_that_holds_it(prepared, tmp_path, monkeypatch):
    """However many copies of it the shard holds; each image is fingerprinted once."""
    out, _, config = prepared
    submit, asked = pool.Workers.submit, collections.Counter()

    def counts(self, task, shared, items, *others):
        items = list(items)
        for item in items:
            asked[task, item[0].key if item and hasattr(item[0], "key") else ""] += 1
        return submit(self, task, shared, items, *others)

    monkeypatch.setattr(pool.Workers, "submit", counts)
    prepare.prepare(dataclasses.replace(config, output=str(tmp_path / "insects")))
    holding = collections.Counter()
    records_of = collections.Counter()
    for ledger in (out / "ledger").iterdir():
        uris = [json.loads(line)["uri"] for line in ledger.read_text().splitlines()]
        holding.update(set(uris))
        records_of.update(uris)
    decoded = {f"{config.input}/{key}": n for (task, key), n in asked.items() if task == "make"}
    assert decoded == dict(holding)
    assert max(records_of.values()) > 2 >= max(decoded.values())
    assert {n for (task, _), n in asked.items() if task == "fingerprint"} == {1}


@pytest.mark.slow
def test_other_options_replace_the_dataset_whole(prepared, tmp_path):
    """Fewer shards, another encoding: nothing of the old dataset is left, and a foreign file stays."""
    out, _, config = prepared
    target = tmp_path / "insects"
    shutil.copytree(out, target)
    (target / "README.mine").write_text("keep me")
    fewer = dataclasses.replace(config, output=str(target), shards=1, encoding="uint8", normalize="unit")
    result = prepare.prepare(fewer)
    assert sorted(digests(target)) == [f"insects-{s}.tfrecord-00000-of-00001" for s in ("test", "train", "validation")]
    assert (target / "README.mine").read_text() == "keep me"
    assert sorted(p.name for p in (target / "ledger").iterdir()) == [f"{n}.jsonl" for n in sorted(digests(target))]
    assert result.contract.value_range == pytest.approx((0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["float32", "jpeg", "png"])  # of uint8 there are other datasets
def test_every_encoding_reads_back_as_the_same_tensor(prepared, tmp_path, encoding):
    out, _, config = prepared
    c16 = contract.load(out)
    target = tmp_path / "insects"
    c = prepare.prepare(dataclasses.replace(config, output=str(target), encoding=encoding)).contract
    assert c.normalization == c16.normalization
    for split in ("train", "test"):
        ours, theirs = read_split(target, c, split), read_split(out, c16, split)
        assert [r["key"] for r in ours] == [r["key"] for r in theirs]
        read = contract.images_from_records(c, tf.constant([r["image"] for r in ours])).numpy()
        half = contract.images_from_records(c16, tf.constant([r["image"] for r in theirs])).numpy()
        if encoding == "jpeg":  # lossy: a few gray levels, and the graph repeats even that
            assert np.abs(read - half).mean() < 8 * max(c.normalization.scale)
        else:
            np.testing.assert_array_equal(read.astype(np.float16).astype(np.float32), half)
        _, graph = contract.load_transform(target)
        originals = [i for i, r in enumerate(ours) if not r["ledger"]["copy"]]
        sources = [formats.canonical(pathlib.Path(ours[i]["ledger"]["uri"]).read_bytes()) for i in originals]
        np.testing.assert_array_equal(graph(tf.constant(sources)).numpy(), read[originals])


@pytest.mark.slow
def test_too_many_rejects_publish_nothing_and_leave_the_old_dataset(prepared, photos, tmp_path):
    out, _, config = prepared
    target = tmp_path / "insects"
    shutil.copytree(out, target)
    before = digests(target)
    strict = dataclasses.replace(config, output=str(target), max_reject_rate=0.01, seed=5)
    with pytest.raises(DataRejectedError, match=r"1 of 41 inputs were rejected \(2\.4%\).*not-an-image 1"):
        prepare.prepare(strict)
    assert digests(target) == before
    assert contract.load(target).seed == 0


def test_an_output_with_other_things_in_it_is_refused(photos, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty and holds no Shardmill dataset"):
        prepare.prepare(PrepareConfig(input=str(photos), output=str(tmp_path), name="x"))


@pytest.mark.slow
def test_a_folder_without_images_is_an_error_and_not_an_empty_dataset(tmp_path):
    (tmp_path / "in/class").mkdir(parents=True)
    config = PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), max_reject_rate=1)
    with pytest.raises(SourceError, match="holds no file"):
        prepare.prepare(config)
    (tmp_path / "in/class/notes.jpg").write_text("not an image")
    # An engine of its own tells the error as text.
    with pytest.raises((NothingUsableError, EngineError), match="No readable image in split 'train'"):
        prepare.prepare(config)
    assert not (tmp_path / "out/contract.json").exists()


@pytest.mark.slow
def test_manifest_groups_given_splits_and_weights(photos, tmp_path):
    """Groups connected by equal images are one unit; a given split stays; weights reach the records."""
    rows = [{"path": f"ant/{i:02d}.jpg", "label": "ant", "group": f"g{i // 4}"} for i in range(20) if i % 5 != 4]
    rows += [
        {"path": "bee/00.jpg", "label": "bee", "group": "g0"},
        {"path": "bee/again.jpg", "label": "bee", "group": "g3"},
    ]
    rows += [{"path": f"bee/{i:02d}.jpg", "label": "bee", "split": "val", "weight": 2.5} for i in (1, 2, 3)]
    rows += [{"path": f"cat/{i:02d}.jpg", "label": "cat"} for i in range(4)]
    root = pathlib.Path(shutil.copytree(photos, tmp_path / "in"))
    manifest = root / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PrepareConfig(input=str(manifest), output=str(tmp_path / "out"), size=(8, 8), encoding="uint8")
    c = prepare.prepare(config).contract
    assert c.weighted
    group_of = {row["path"]: row.get("group") for row in rows}
    where = collections.defaultdict(set)
    weights = {}
    for split in c.splits:
        for row in read_split(tmp_path / "out", c, split):
            path = os.path.relpath(row["ledger"]["uri"], root)
            where[group_of[path]].add(split)
            weights[path] = float(row["weight"])
    assert all(len(where[g]) == 1 for g in ("g0", "g1", "g2", "g3"))
    assert where["g0"] == where["g3"]
    for i in (1, 2, 3):
        assert weights[f"bee/{i:02d}.jpg"] == 2.5
    assert c.splits["validation"].natural["bee"] >= 3
    assert weights["cat/00.jpg"] == 1.0


@pytest.mark.slow
def test_an_input_that_gets_lost_is_noticed(photos, tmp_path, monkeypatch):
    """Whatever the reason: what was listed has to come out as an image or as a reject."""

    class Loses(stages.Fingerprint):
        def process(self, numbered, total):
            batch = list(elements.unpack([numbered[1]]))
            read = (
                worker_tasks.fingerprint(item, self._limits, self._policy)
                for item in batch[:-1]
                if not item.uri.endswith("notes.jpg")
            )
            yield from split_units.in_buckets(((ref.digest, ref) for ref in read), total)

    monkeypatch.setattr(stages, "Fingerprint", Loses)
    with pytest.raises(IncompleteError, match=r"41 inputs were listed, but 39 images .* 2 are unexplained"):
        prepare.prepare(PrepareConfig(input=str(photos), output=str(tmp_path / "out"), size=(8, 8)))
    assert not (tmp_path / "out/contract.json").exists()


@pytest.mark.slow
def test_an_image_that_cannot_be_decoded_is_one_reject_however_many_copies(photos, tmp_path):
    """Its header is good, so it is found out when shards are written; nine copies in two shards are one reject."""
    shutil.copytree(photos, tmp_path / "in")
    damaged = tmp_path / "in/cat/01.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    config = PrepareConfig(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), size=(8, 8), balance="uniform", shards=2,
        max_reject_rate=0.1, splits={"train": 1.0},
    )  # fmt: skip
    result = prepare.prepare(config)
    assert result.summary.rejected == {"not-an-image": 1, "undecodable": 1}
    found = {os.path.basename(r.uri): (r.stage, r.label) for r in result.summary.rejects}
    assert found == {"01.jpg": ("decode", "cat"), "notes.jpg": ("fingerprint", "bee")}
    assert result.summary.read == 41
    assert result.contract.splits["train"].natural["cat"] == 4
    lines = (tmp_path / "out/rejects/rejected.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["reason"] for line in lines) == ["not-an-image", "undecodable"]


@pytest.mark.slow
def test_a_dataset_of_other_options_that_is_replaced_is_told(prepared, tmp_path, caplog):
    _, _, config = prepared
    again = dataclasses.replace(config, output=str(tmp_path / "insects"))
    told = []
    for changed in (again, again, dataclasses.replace(again, encoding="uint8")):
        caplog.clear()
        prepare.prepare(changed)
        told.append(caplog.text)
    assert ["holds a dataset of other options" in text for text in told] == [False, False, True]
    height, width = config.size
    assert f"({height} x {width} x 3, {config.encoding}), which is replaced at the end." in told[2]


@pytest.mark.slow
def test_a_run_that_died_while_publishing_is_mended_by_the_next(prepared, tmp_path, monkeypatch):
    """Everything was moved but the contract: no dataset to a reader, and the same bytes after a rerun."""
    out, _, config = prepared
    again = dataclasses.replace(config, output=str(tmp_path / "insects"))
    move = storage.move

    def dies_at_the_contract(pairs):
        if pairs[-1][1] == str(tmp_path / "insects/contract.json"):
            raise OSError(5, "Input/output error")
        move(pairs)

    monkeypatch.setattr(storage, "move", dies_at_the_contract)
    with pytest.raises(OSError, match="Input/output error"):
        prepare.prepare(again)
    monkeypatch.undo()
    assert digests(tmp_path / "insects") == digests(out)  # moved already
    with pytest.raises(contract.ContractError, match="did not finish"):
        contract.load(tmp_path / "insects")
    prepare.prepare(again)
    assert digests(tmp_path / "insects") == digests(out)
    ledgers = [{p.name: p.read_text() for p in (d / "ledger").iterdir()} for d in (tmp_path / "insects", out)]
    assert ledgers[0] == ledgers[1]


@pytest.mark.slow
def test_an_output_whose_name_looks_like_a_pattern_is_whole(photos, tmp_path):
    out = tmp_path / "run [1]*?"
    config = PrepareConfig(input=str(photos), output=str(out), size=(8, 8), max_reject_rate=0.1, workers=1)
    made = prepare.prepare(config).contract
    _, images = contract.load_transform(out)
    assert images([(photos / "cat/00.jpg").read_bytes()]).shape == (1, 8, 8, 3)
    assert made.transform_digest == contract.load(out).transform_digest
    assert not (out / ".shardmill").exists()
