"""Every kind of damage that `verify` promises to find, done to a real dataset, and that it says where it is."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import contract
from pipelines.contract import ledger, tf_example, tfrecord
from pipelines.dataset import verify, verify_shard
from tests.support.files import hostile_graphs
from tests.support.files.hostile_graphs import Hostile, write

FILE = "insects-train.tfrecord-00000-of-00002"


@pytest.fixture
def dataset(prepared, tmp_path) -> pathlib.Path:
    target = tmp_path / "insects"
    shutil.copytree(prepared[0], target)
    return target


def frames(path: pathlib.Path) -> list[bytes]:
    """The framed records of a TFRecord file: 8 bytes length, 4 CRC, data, 4 CRC."""
    data, out = path.read_bytes(), []
    while data:
        size = 16 + struct.unpack("<Q", data[:8])[0]
        out.append(data[:size])
        data = data[size:]
    return out


def found(dataset: pathlib.Path, data: bytes) -> list[str]:
    """What is wrong with the shard FILE if it holds these bytes, less what every change of it makes wrong."""
    (dataset / FILE).write_bytes(data)
    c = contract.load(dataset)
    problems = list(verify_shard.problems(str(dataset), c, c.splits["train"].shards[0], verify_shard.Counts()))
    ending = ("(SHA-256 differs).", "bytes. It has " + str(len(data)) + ".")
    assert problems[-1].endswith(ending)
    assert sum(p.endswith(ending) for p in problems) == 1
    return problems[:-1]


def named(dataset: pathlib.Path, index: int) -> str:
    line = list(ledger.lines(str(dataset), FILE))[index]
    return f"record {index} ({line.label}, {line.uri}{f', copy {line.copy}' if line.copy else ''})"


def rewritten(dataset: pathlib.Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Changes a shard's records and puts the new size and digest into the contract, as a careful forger would."""
    path = dataset / FILE
    path.write_bytes(b"".join(change(frames(path))))
    old = contract.load(dataset)
    split = old.splits["train"]
    fixed = dataclasses.replace(
        split.shards[0], bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    new_split = dataclasses.replace(split, shards=(fixed, *split.shards[1:]))
    new = dataclasses.replace(old, splits={**old.splits, "train": new_split})
    (dataset / "contract.json").write_text(new.to_json())


def test_a_whole_dataset_has_no_problems(dataset):
    assert verify.verify(str(dataset)) == []


def test_verifying_imports_nothing_heavy(dataset):
    program = (
        "import sys; from pipelines.cli import verify_output; from pipelines.dataset import source_changes, verify\n"
        "assert verify.verify(sys.argv[1]) == []\n"
        "heavy = {'tensorflow', 'apache_beam', 'tensorflow_transform', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program, str(dataset)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_any_flipped_bit_of_a_record_is_found_in_that_record(dataset):
    """Every bit of a header and of a checksum, and many of the data: always this record, and no other."""
    whole = frames(dataset / FILE)
    start, size = sum(map(len, whole[:3])), len(whole[3])
    data, bits = b"".join(whole), random.Random(0).sample(range(12 * 8, (size - 4) * 8), 300)
    name = named(dataset, 3).replace("record 3", f"record 3 at byte {start}")
    for bit in [*range(12 * 8), *bits, *range((size - 4) * 8, size * 8)]:
        damaged = bytearray(data)
        damaged[start + bit // 8] ^= 1 << bit % 8
        kind = (
            "its length is damaged by one flipped bit" if bit < 96 else "its bytes are damaged (their checksum differs)"
        )
        assert found(dataset, bytes(damaged)) == [f"{FILE}, {name}: {kind}."], bit


@pytest.fixture(scope="module")
def own(prepared, tmp_path_factory) -> pathlib.Path:
    """A copy of the dataset for a test of many examples, each of which leaves it as it was."""
    return pathlib.Path(shutil.copytree(prepared[0], tmp_path_factory.mktemp("own") / "insects"))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_any_file_is_found(own, data):
    out = own
    file = data.draw(st.sampled_from(sorted(p for p in out.rglob("*") if p.is_file() and p.stat().st_size)))
    before = file.read_bytes()
    bit = data.draw(st.integers(0, len(before) * 8 - 1))
    damaged = bytearray(before)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        file.write_bytes(damaged)
        try:
            problems = verify.verify(str(out))
        except contract.ContractError as e:
            problems = [str(e)]
    finally:
        file.write_bytes(before)
    name = str(file.relative_to(out))
    assert any(name in p or (name.endswith("saved_model.pb") and "transform graph" in p) for p in problems), problems


def test_every_file_is_bound_to_the_contract(dataset):
    c = contract.load(dataset)
    shards = {shard.file for split in c.splits.values() for shard in split.shards}
    there = {str(p.relative_to(dataset)) for p in dataset.rglob("*") if p.is_file()}
    assert there == {*c.files, *shards, "contract.json"}


def test_cuts(dataset):
    """At a record's boundary, inside a record's header, data and checksum, and to nothing."""
    whole = frames(dataset / FILE)
    data, n = b"".join(whole), len(whole)
    at = sum(map(len, whole[:5]))
    rest = f"{FILE} can be read up to record {{}}: {{}} of {n} are missing, from {{}} on."

    assert found(dataset, data[: -len(whole[-1])]) == [
        rest.format(n - 2, 1, named(dataset, n - 1)),
        f"{FILE} should hold {n} records. It holds {n - 1}.",
    ]
    for inside in (1, 11, 12, 500, len(whole[5]) - 1):
        problems = found(dataset, data[: at + inside])
        assert problems[0].startswith(f"{FILE}, {named(dataset, 5).replace('5', f'5 at byte {at}', 1)}: the file ends")
        assert problems[1:] == [rest.format(5, n - 6, named(dataset, 6))]
    assert found(dataset, b"")[0] == (f"{FILE} holds no record: {n} of {n} are missing, from {named(dataset, 0)} on.")


def test_dropped_repeated_swapped_and_foreign_records(dataset):
    whole = frames(dataset / FILE)
    n = len(whole)
    other = frames(dataset / FILE.replace("00000-of", "00001-of"))[2]
    other_key = tf_example.parse(other[12:-4]).key
    for i, j in ((0, 1), (3, n - 1), (n - 2, n - 1)):
        dropped, swapped = whole[:i] + whole[i + 1 :], list(whole)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        assert found(dataset, b"".join(dropped)) == [
            f"{FILE}, {named(dataset, i)} is missing: it was dropped or replaced by another.",
            f"{FILE} should hold {n} records. It holds {n - 1}.",
        ]
        repeated = [*whole[:j], whole[i], *whole[j:]]
        assert found(dataset, b"".join(repeated)) == [
            f"{FILE}, {named(dataset, i).replace(f'record {i}', f'record {j}')} repeats record {i}.",
            f"{FILE} should hold {n} records. It holds {n + 1}.",
        ]
        assert found(dataset, b"".join(swapped)) == [
            f"{FILE}, {named(dataset, j).replace(f'record {j}', f'record {i}')} should be record {j}: "
            "records were swapped.",
            f"{FILE}, {named(dataset, i).replace(f'record {i}', f'record {j}')} should be record {i}: "
            "records were swapped.",
        ]
        assert found(dataset, b"".join([*whole[:i], other, *whole[i + 1 :]])) == [
            f"{FILE}, {named(dataset, i)} is missing: it was dropped or replaced by another.",
            f"{FILE}, record {i} (key '{other_key}') is not in the ledger: it is of another shard or dataset.",
        ]


def test_many_wrong_records_are_counted(dataset):
    whole = frames(dataset / FILE)
    problems = found(dataset, b"".join(reversed(whole)))
    misplaced = len(whole) // 2 * 2
    assert len(problems) == 11
    assert problems[-1] == f"{FILE}: {misplaced - 10} more records are out of place."


def test_a_sound_record_with_other_pixels_is_told_by_the_digest_alone(dataset):
    whole = frames(dataset / FILE)
    record = bytearray(whole[4][12:-4])
    at = bytes(record).index(tf_example.parse(bytes(record)).image)
    record[at + 7] ^= 1
    (dataset / FILE).write_bytes(b"".join([*whole[:4], tfrecord.framed(bytes(record)), *whole[5:]]))
    assert verify.verify(str(dataset)) == [
        f"{FILE} has another content than when it was written (SHA-256 differs). Every record in it is correct and in "
        "its place, so a program wrote the file again."
    ]


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, 1 << 62, (1 << 64) - 1])
def test_a_crafted_length_is_told_and_not_believed(dataset, length):
    whole = frames(dataset / FILE)
    header = struct.pack("<Q", length)
    crafted = header + struct.pack("<I", tfrecord.masked_crc(header)) + whole[2][12:]
    at, asked = len(whole[0]) + len(whole[1]), []
    data = b"".join([*whole[:2], crafted, *whole[3:]])

    problems = found(dataset, data)

    most = 24 * 32 * 3 * 2 + verify_shard.SLACK
    sentence = f"its length should be at most {most} bytes. The file says {length}"
    assert problems[0] == f"{FILE}, {named(dataset, 2).replace('2', f'2 at byte {at}', 1)}: {sentence}."

    stream = io.BytesIO(data)

    def read(count: int) -> bytes:
        asked.append(count)
        return stream.read(count)

    list(tfrecord.frames(read, most))
    assert max(asked) <= most + 4


def test_damage_to_two_bits_of_a_length_ends_the_reading(dataset):
    whole = frames(dataset / FILE)
    broken = bytes([whole[2][0] ^ 3]) + whole[2][1:]
    problems = found(dataset, b"".join([*whole[:2], broken, *whole[3:]]))
    assert problems[0].endswith(": its length is damaged, so that what follows cannot be found.")
    assert problems[1].startswith(f"{FILE} can be read up to record 2: {len(whole) - 3} of {len(whole)} are missing")


def test_missing_and_foreign_shards(dataset):
    (dataset / FILE).rename(dataset / "insects-train.tfrecord-00000-of-00003")
    assert verify.verify(str(dataset)) == [
        "insects-train.tfrecord-00000-of-00003 is not in the contract: a stale or foreign shard. Remove it.",
        f"{FILE} is missing.",
    ]


def test_two_shards_in_each_others_place(dataset):
    other = dataset / FILE.replace("00000-of", "00001-of")
    (dataset / FILE).rename(dataset / "aside")
    other.rename(dataset / FILE)
    (dataset / "aside").rename(other)
    problems = verify.verify(str(dataset))
    for file in (FILE, other.name):
        assert any(p.startswith(f"{file}, record 0 ") and "is missing" in p for p in problems)
        assert any(p.startswith(f"{file}: ") and p.endswith("more records are out of place.") for p in problems)


@pytest.mark.parametrize("name", [FILE, "features.json", "contract.json", f"ledger/{FILE}.jsonl", "stats/summary.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_told_and_not_waited_for(dataset, name, make):
    (dataset / name).unlink()
    make(dataset / name)
    try:
        problems = verify.verify(str(dataset))
    except contract.ContractError as e:
        problems = [str(e)]
    assert any(name in p for p in problems)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f[1:], "is missing: it was dropped or replaced"),
        (lambda f: [*f, f[0]], "repeats record 0"),
        (lambda f: [f[1], f[0], *f[2:]], "records were swapped"),
    ],
)
def test_changed_records_under_a_forged_digest(dataset, change, expected):
    rewritten(dataset, change)
    assert any(expected in p for p in verify.verify(str(dataset)))


@pytest.mark.parametrize(
    ("feature", "value", "sentence"),
    [
        ("label", 9, "label 9 is outside 0..2."),
        ("label", -1, "label -1 is outside 0..2."),
        ("label", None, "its label should be one value. Received: 0."),
        ("weight", float("nan"), "its weight should be at least 0 and finite. Received: nan."),
        ("image", b"short", "the image should have 4608 bytes. It has 5."),
        (
            "other",
            1,
            "it should have the features image, key, weight and one of label, target, each once. Received: 'other'.",
        ),
    ],
)
def test_records_with_other_contents_under_a_forged_digest(dataset, feature, value, sentence):
    def change(framed: list[bytes]) -> list[bytes]:
        message = tf.train.Example.FromString(framed[0][12:-4])
        place = message.features.feature[feature]
        if feature == "image":
            place.bytes_list.value[0] = value
        else:
            listed = place.float_list if feature == "weight" else place.int64_list
            listed.value[:] = [] if value is None else [value]
        return [tfrecord.framed(message.SerializeToString()), *framed[1:]]

    rewritten(dataset, change)
    name = named(dataset, 0).replace("record 0", "record 0 at byte 0")
    assert f"{FILE}, {name}: {sentence}" in verify.verify(str(dataset))


def test_a_label_that_the_ledger_contradicts(dataset):
    line = next(iter(ledger.lines(str(dataset), FILE)))
    labels = contract.load(dataset).labels
    wrong = (labels.index(line.label) + 1) % 3

    def relabel(framed: list[bytes]) -> list[bytes]:
        message = tf.train.Example.FromString(framed[0][12:-4])
        message.features.feature["label"].int64_list.value[0] = wrong
        return [tfrecord.framed(message.SerializeToString()), *framed[1:]]

    rewritten(dataset, relabel)
    sentence = f"its label is {labels[wrong]!r}. The ledger says {line.label!r}."
    assert any(p.endswith(sentence) for p in verify.verify(str(dataset)))


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False),
    st.text(max_size=30),
)
def test_examples_are_read_as_protobuf_reads_them(image, label, weight, key):
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[weight])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[key.encode()])),
    }
    record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    assert tf_example.parse(record) == (image, label, weight, key, {})


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 59), st.integers(0, 255))
def test_any_bytes_are_an_example_or_an_example_error(data, at, value):
    good = bytearray(
        tf.train.Example(
            features=tf.train.Features(
                feature={"key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"0123456789"]))}
            )
        ).SerializeToString()
    )
    good[at % len(good)] = value
    for candidate in (data, bytes(good)):
        with pytest.raises(tf_example.ExampleError):
            tf_example.parse(candidate)


def test_class_counts_that_disagree(dataset):
    c = contract.load(dataset)
    train = c.splits["train"]
    stored = {**train.stored, "ant": train.stored["ant"] - 1, "bee": train.stored["bee"] + 1}
    copies = {**train.copies, "bee": train.copies["bee"] + 1}
    changed = dataclasses.replace(train, stored=stored, copies=copies)
    forged = dataclasses.replace(c, splits={**c.splits, "train": changed}, rejected={"empty": 1})
    (dataset / "contract.json").write_text(forged.to_json())

    problems = verify.verify(str(dataset))

    assert f"Split train should hold {stored} records by class. It holds {dict(train.stored)}." in problems
    assert any(p.startswith("Split train should hold") and "augmented copies by class" in p for p in problems)
    assert "rejects/rejected.jsonl should list {'empty': 1} by reason. It lists {'not-an-image': 1}." in problems
    assert any(p.startswith("Split train should come of ") and "images of ant" in p for p in problems)


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json", "label.labels.txt"])
def test_sidecars_that_disagree(dataset, name):
    path = dataset / name
    path.write_text(path.read_text().replace("ant", "cow").replace("24", "25").replace("float16", "float32") + " ")
    assert verify.verify(str(dataset)) == [f"{name} disagrees with the contract."]
    path.unlink()
    assert verify.verify(str(dataset)) == [f"{name} is missing."]


def test_side_files_that_are_changed_missing_or_foreign(dataset):
    for name in ("schema.pbtxt", "stats/train.pbtxt", "report.html", "transform_fn/assets/labels"):
        before = (dataset / name).read_bytes()
        (dataset / name).write_bytes(before + b" ")
        assert verify.verify(str(dataset)) == [
            f"{name} has another content than when it was written (SHA-256 differs)."
        ]
        (dataset / name).unlink()
        assert verify.verify(str(dataset)) == [f"{name} is missing."]
        (dataset / name).write_bytes(before)
    (dataset / "ledger/stale.jsonl").touch()
    (dataset / "stats/.DS_Store").touch()  # what a desktop leaves behind is nobody's concern
    (dataset / "notes.txt").touch()
    assert verify.verify(str(dataset)) == [
        "ledger/stale.jsonl is not in the contract: a stale or foreign file. Remove it."
    ]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]\n", '{"key": "a"}\n', "[" * 10_000 + "\n", "x" * (2 << 20), '{"key": "\\ud800"}\n', "\udcff"],
    ids=lambda text: repr(text[:12]),
)
def test_a_ledger_that_cannot_be_read_does_not_hide_the_rest(dataset, text):
    (dataset / f"ledger/{FILE}.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    data = bytearray((dataset / FILE).read_bytes())
    data[100] ^= 1
    (dataset / FILE).write_bytes(data)
    problems = verify.verify(str(dataset))
    assert any(p.startswith(f"ledger/{FILE}.jsonl") for p in problems)
    assert any(p.startswith(f"{FILE}, record 0 at byte 0") for p in problems)


def test_another_transform_graph(dataset):
    path = dataset / "transform_fn/saved_model.pb"
    path.write_bytes(path.read_bytes() + b"\0")
    assert verify.verify(str(dataset)) == ["The transform graph is not the one that the contract names."]


def test_a_graph_that_writes_a_file_with_all_digests_made_to_agree(dataset, tmp_path):
    hostile_graphs.put(dataset, contract.load(dataset), Hostile(contract.load(dataset), write(tmp_path / "written")))
    made = contract.load(dataset)
    files = {name: hashlib.sha256((dataset / name).read_bytes()).hexdigest() for name in made.files}
    hostile_graphs.seal(dataset, dataclasses.replace(made, files=files))
    found = verify.verify(str(dataset))
    assert len(found) == 1
    assert "the operation 'WriteFile' in node" in found[0]
    assert not (tmp_path / "written").exists()


def test_an_edited_contract(dataset):
    text = (dataset / "contract.json").read_text()
    (dataset / "contract.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    sentence = "contract.json was changed after it was written (its `contract_digest` or a derived field differs)."
    assert verify.verify(str(dataset)) == [sentence]
    (dataset / "contract.json").write_text(json.dumps(json.loads(text)))
    assert verify.verify(str(dataset)) == [sentence]


def test_a_contract_from_before_it_named_the_other_files(dataset):
    old = dataclasses.replace(contract.load(dataset), files={})
    (dataset / "contract.json").write_text(old.to_json(sealed=False))
    assert verify.verify(str(dataset)) == []
    (dataset / "features.json").unlink()
    assert verify.verify(str(dataset)) == ["features.json is missing."]


def test_no_contract_says_what_to_do(dataset):
    (dataset / "contract.json").unlink()
    with pytest.raises(contract.ContractError, match="its preparation did not finish"):
        verify.verify(str(dataset))
