"""The whole of `prepare` with input and output in an object store: the shards of a local run, and all that reads them.

The stores are emulated over HTTP: worker processes reach them as they would the real ones.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

import pytest

from pipelines import contract, storage
from pipelines.dataset import describe, source_changes, verify
from pipelines.job import prepare
from pipelines.storage import remote
from pipelines.work_dir import Work
from pipelines.workers import pool
from tests.support import object_stores, warm

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["s3", "gs"])
def store(request, photos):
    """(bucket, Beam's flags, environment) of an emulated store that holds `photos`."""
    place = f"{request.param}://{object_stores.BUCKET}"
    with (
        {"s3": object_stores.s3, "gs": object_stores.gcs}[request.param]() as flags,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(prepare, "REMOTE_POLL_SECONDS", 0.2)
        object_stores.put_folder(photos, f"{place}/photos")
        yield place, flags


@pytest.fixture(scope="module")
def published(store, prepared):
    """(config, Result) of `prepared`'s options from and to the store."""
    place, flags = store
    config = dataclasses.replace(prepared[2], input=f"{place}/photos", output=f"{place}/made/insects")
    return config, prepare.prepare(config, flags)


def shards(c):
    return {shard.file: shard.sha256 for split in c.splits.values() for shard in split.shards}


def below(folder):
    """Path -> digest of the files of a dataset; of those that differ from run to run only that they are there."""
    names = [
        name for name in storage.files_below(folder) if not name.startswith((Work.DIRECTORY, "ledger/", "rejects/"))
    ]
    graph = ("transform_fn/saved_model.pb", "transform_fn/fingerprint.pb")
    own = ("contract.json", "report.html", "stats/summary.json", *graph)
    return {name: name in own or storage.sha256(storage.join(folder, name)) for name in names}


def test_everything_is_as_after_a_local_run(published, prepared):
    config, result = published
    local = prepared[1]
    assert below(config.output) == below(str(prepared[0]))
    assert shards(result.contract) == shards(local.contract)
    assert result.contract.source_digest == local.contract.source_digest
    assert result.summary.classes == local.summary.classes
    assert result.summary.rejected == local.summary.rejected == {"not-an-image": 1}
    assert [r.uri for r in result.summary.rejects] == [f"{config.input}/bee/notes.jpg"]
    assert storage.children(config.output) == storage.children(str(prepared[0]))  # and no work is left


def test_it_is_whole_and_its_inputs_are_unchanged(published):
    config, _ = published
    assert verify.verify(config.output) == []
    found = source_changes.find(config.output)
    assert (found.changes, found.compared) == ([], 41)
    changed = storage.join(config.input, "ant", "03.jpg")
    before = storage.read_input(changed, 1 << 20)
    try:
        with storage.writing(changed) as file:
            file.write(before + b"x")
        assert [c[:2] for c in source_changes.find(config.output).changes] == [("changed", "ant/03.jpg")]
    finally:
        with storage.writing(changed) as file:
            file.write(before)


def test_what_is_wrong_is_named(published):
    config, result = published
    file = next(iter(shards(result.contract)))
    path, ledger = storage.join(config.output, file), storage.join(config.output, "ledger", f"{file}.jsonl")
    aside = [(path, f"{path}.aside"), (ledger, f"{ledger}.aside")]
    storage.move(aside)
    try:
        told = verify.verify(config.output)
    finally:
        storage.move([(moved, original) for original, moved in aside])
    assert f"{file} is missing." in told
    assert f"{file}.aside is not in the contract: a stale or foreign shard. Remove it." in told
    assert f"ledger/{file}.jsonl is missing." in told


def test_it_can_be_looked_at(published, prepared, tmp_path):
    config, _ = published
    assert describe.describe(config.output) == describe.describe(prepared[0])
    for name, folder in (("remote.png", config.output), ("local.png", prepared[0])):
        describe.contact_sheet(folder, tmp_path / name, columns=2, rows=2)
    assert (tmp_path / "remote.png").read_bytes() == (tmp_path / "local.png").read_bytes()


def test_the_command_line_finds_the_store_by_the_environment(published):
    config, _ = published
    environment = dict(os.environ)
    if config.output.startswith("s3"):
        flags = dict(flag.removeprefix("--s3_").split("=") for flag in remote.json.loads(remote.settings()))
        environment |= {
            "AWS_ENDPOINT_URL": flags["endpoint_url"],
            "AWS_ACCESS_KEY_ID": flags["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": flags["secret_access_key"],
        }
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "verify", config.output],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Intact: ")


READ = """
import hashlib, sys
from pipelines import contract
from trainer import dataset
from trainer.data.shards import integrity

for folder in sys.argv[1:]:
    c = contract.load(folder)
    integrity.check(c, folder, c.splits, "full")
    for split in sorted(c.splits):
        for images, labels in dataset.load(folder, split, 5):
            print(split, labels.numpy().tolist(), hashlib.sha256(images.numpy().tobytes()).hexdigest())
"""


def test_the_trainer_streams_what_tensorflow_opens(published, prepared, tmp_path):
    config, result = published
    if config.output.startswith("s3"):
        with pytest.raises(contract.ContractError, match="aws s3 cp --recursive s3://bucket/made/insects DIR"):
            contract.load(config.output)
        return
    with object_stores.seen_by_tensorflow(tmp_path) as more:
        done = warm.run(
            [sys.executable, "-c", READ, str(prepared[0]), config.output],
            cwd=ROOT, env={**os.environ, **more, "XDG_CACHE_HOME": str(tmp_path)}, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    batches = sum(-(-split.records // 5) for split in result.contract.splits.values())
    assert len(lines) == 2 * batches
    assert lines[:batches] == lines[batches:]


@pytest.fixture(scope="module")
def in_png(prepared):
    """(config, Result) of a local run with other options than `prepared`'s."""
    config = dataclasses.replace(prepared[2], output=f"{prepared[0]}-png", encoding="png", shards=1, name="insects")
    return config, prepare.prepare(config)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_run_that_ended_before_publishing_goes_on_over_the_older_dataset(store, published, in_png, monkeypatch):
    """From a manifest, with other options: what was staged is not decoded again, and no old shard is left."""
    place, flags = store
    remote.use(flags)  # the local run had none
    rows = [f"{name},{name.partition('/')[0]}" for name in storage.files_below(f"{place}/photos")]
    storage.write_text(f"{place}/photos/rows.csv", "\n".join(["path,label", *rows]))
    expected = shards(in_png[1].contract)
    config = dataclasses.replace(in_png[0], input=f"{place}/photos/rows.csv", output=published[0].output)

    def ends(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare.publish, "publish", ends)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(config, flags)
    assert shards(contract.load(config.output, storage.reading_text)) == shards(published[1].contract)
    asked = []
    submit = pool.Workers.submit
    monkeypatch.setattr(pool.Workers, "submit", lambda *args, **more: asked.append(args[1]) or submit(*args, **more))
    again = prepare.prepare(config, flags)
    assert set(asked) == {"fingerprint", "build_analysis", "run_analysis"}
    assert shards(again.contract) == expected
    assert {n for n in storage.children(config.output) if ".tfrecord-" in n} == set(expected)
    assert verify.verify(config.output) == []
