"""Writes one shard: reads, decodes, resizes and augments its images.

One shard is one unit of work, and its records are in hash order. Memory is bounded by what is under way, see
`ordered_records`, and not by the size of the shard or of the dataset. A shard that an earlier run finished with the
same options and the same inputs is recognized by its task digest. It is not made again if the file still has the digest
that was noted, and if nothing in it was rejected for a reason that may not hold now.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines import storage
from pipelines.contract.folds import DIGITS
from pipelines.contract.metadata import MetadataColumn, Value
from pipelines.core import hashing
from pipelines.core.console import progress
from pipelines.core.elements import TRANSIENT, Affine, Header, Item, Made, Ref
from pipelines.core.summary import Rejected
from pipelines.images import histogram
from pipelines.images.limits import Limits
from pipelines.records import metadata_counts, ordered_records
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks.kind import Answers
from pipelines.work_dir import Work
from pipelines.workers.pool import Outcome, Workers
from pipelines.workers.worker_process import TaskLostError

_log = logging.getLogger(__name__)

# Reasons of rejects for which a later run makes a shard anew. The last two are said of a file that was a regular file
# of allowed size when it was read for its digest.
PASSING = (*TRANSIENT, "not-a-file", "too-large")
MAX_THUMBNAILS = 120
OF_NUMBERS = 12  # sources of a split, if images have numbers in place of classes, or no label
# Policies that change how an image looks; the report shows examples of each.
VISIBLE = ("16-bit", "alpha", "cmyk", "color-profile", "exif-orientation", "truncated")
COUNTED = 1024  # histograms of images (3 kB each) that are added up at a time
FLOATS = ("float16", "float32")


class Shard(NamedTuple):
    """Identifies a shard to be written.

    thumbnails: the number of sources per class of which thumbnails are made.
    examples: the number of sources per policy of which thumbnails are made.
    """

    file: str
    split: str
    thumbnails: int = 0
    examples: int = 0


def write_shard(
    shard: Shard,
    items: Iterable[Item],
    answers: Answers,
    spec: RecordSpec,
    config_digest: str,
    work: Work,
    workers: Workers,
) -> dict[str, Any]:
    """Stages a shard's records as 8-bit pixels, JPEG or PNG, and returns its account.

    Args:
      answers: what a record holds of each answer.
      config_digest: identifies all options that the shards depend on. A shard that was staged with others is made anew.

    Returns:
      The shard's account, plain JSON values: counts per label, pixel histogram, rejects, formats, sizes, pictures.
      It is also stored next to the staged shard, with the ledger (one line per record: key, uri, label, digest, copy,
      and the columns that travel along).
      Both hold the paths that the sources have in this run, whichever run staged the shard.
    """
    file = shard.file
    ordered = sorted(items)
    account_path, ledger_path = work.path("staged", f"{file}.json"), work.path("ledger", f"{file}.jsonl")
    digest = _task_digest(file, ordered, answers.labels, config_digest, spec.metadata)
    staged = work.path("staged", file)
    known = _known(account_path, digest, staged)
    if known is not None and _rejects_stand(known, spec.limits):
        progress.advance(len(ordered))
        return _with_paths_of(ordered, known, account_path, ledger_path, spec.metadata)
    account = _Account(file, shard.split, spec.image.channels)
    is_shown = shard.thumbnails or shard.examples
    shown = _Pictures(ordered, shard, spec, workers, answers) if is_shown else None
    with storage.writing(ledger_path) as lines, storage.writing(staged) as out:
        ledger, writer = hashing.Hashed(lines), hashing.Hashed(out)
        for item, made in ordered_records.in_order(ordered, shard.split, answers, spec, workers):
            progress.advance(1)
            if isinstance(made, Rejected):
                account.reject(made)
                continue
            writer.write(made.framed)
            ledger.write(_ledger_line(item, spec.metadata))
            account.add(item, made)
            if shown is not None:
                shown.add(item)
    result = {
        "task_digest": digest,
        "limits": spec.limits.noted(),
        **_of_items(ordered),
        "sha256": writer.sha256.hexdigest(),
        "bytes": writer.size,
        "ledger_sha256": ledger.sha256.hexdigest(),
        **account.result((spec.image.height, spec.image.width), spec.image.source.value_range),
        "metadata": metadata_counts.counted(spec.metadata, account.metadata()),
        "thumbnails": shown.result() if shown is not None else [],
    }
    named = {entry["uri"] for entry in (*result["rejects"], *result["thumbnails"])}
    result["keys"] = {item.ref.uri: item.ref.key for item in ordered if item.ref.uri in named}
    storage.write_text(account_path, json.dumps(result))
    return result


def _of_items(items: Sequence[Item]) -> dict[str, Any]:
    """Returns what an account says of the inputs of its records, before they are read."""
    originals = [(i.ref.key, i.ref.label, i.ref.digest) for i in items if not i.copy]
    return {
        "source_digest": hashing.multiset_digest(originals),
        "weighted": any(i.ref.weight != 1.0 for i in items),
    }


def read_account(file: str, work: Work) -> dict[str, Any]:
    """Reads the account that `write_shard` stored for a shard."""
    account: dict[str, Any] = json.loads(storage.read_text(work.path("staged", f"{file}.json")))
    return account


def finish_shard(
    account: Mapping[str, Any],
    affine: Affine | None,
    encoding: str,
    work: Work,
    workers: Workers,
) -> dict[str, Any]:
    """Makes the finished shard from the staged one.

    Its pixels are normalized by `affine` where the encoding is one of FLOATS. Else the staged shard is copied.

    Returns:
      {"file", "split", "records", "bytes", "sha256"} of the finished file.
    """
    file = account["file"]
    target, note = work.path("shards", file), work.path("shards", f"{file}.json")
    digest = hashing.text_digest(f"{account['sha256']} {affine}")
    if (known := _known(note, digest, target)) is not None:
        return known
    staged = work.path("staged", file)
    if encoding in FLOATS:
        asked = (staged, target, account["records"])
        [finished] = workers.submit("finish", (affine, encoding), [asked])  # our file: no deadline
        sha256, size = finished.result()
    else:
        storage.copy(staged, target)
        sha256, size = account["sha256"], account["bytes"]
    result = {"file": file, "split": account["split"], "records": account["records"], "bytes": size, "sha256": sha256}
    storage.write_text(note, json.dumps({**result, "task_digest": digest}))
    return result


class _Account:
    """Adds up what a shard holds.

    Most counting is done at the end: it is many times faster for all records at once.
    """

    def __init__(self, file: str, split: str, channels: int):
        self._file, self._split = file, split
        self._stored: list[Item] = []
        self._levels: list[bytes] = []
        self._channels = channels
        self._sum = histogram.add_up([], channels)
        self._rejects: dict[str, Rejected] = {}
        self._extremes: list[tuple[float, float]] = []
        self._varying = 0  # originals whose alpha varies as a photograph does

    def reject(self, rejected: Rejected) -> None:
        self._rejects[rejected.uri] = rejected  # listed once, whatever the number of its copies

    def add(self, item: Item, made: Made) -> None:
        """Adds a written record, and the gray levels of an original."""
        self._stored.append(item)
        if made.extremes is not None:
            self._extremes.append(made.extremes)
        self._varying += made.alpha_varies
        if not item.copy:
            self._levels.append(made.levels)
            if len(self._levels) == COUNTED:
                self._sum += histogram.add_up(self._levels, self._channels)
                self._levels.clear()

    def metadata(self) -> list[tuple[Value, ...]]:
        """Returns the values that travel along with each original."""
        return [item.ref.metadata for item in self._stored if not item.copy]

    def result(self, size: tuple[int, int], value_range: tuple[float, float] | None) -> dict[str, Any]:
        """Returns the account as plain JSON values.

        Args:
          size: the target's height and width.
          value_range: the values of deep pixels that became black and white; None is 0 and 65535.
        """
        count = collections.Counter
        originals = [item.ref for item in self._stored if not item.copy]
        headers = [Header(*ref.header) for ref in originals]
        conversions = count(name for header in headers for name in header.conversions)
        conversions["enlarged"] = sum(h.height < size[0] or h.width < size[1] for h in headers)
        ends, (low, high) = self._extremes, value_range or (0, 65535)
        conversions["clipped"] = sum(least < low or greatest > high for least, greatest in ends)
        conversions["varying-alpha"] = self._varying
        return {
            "file": self._file,
            "split": self._split,
            "records": len(self._stored),
            "stored": count(item.ref.label for item in self._stored),
            "copies": count(item.ref.label for item in self._stored if item.copy),
            "formats": count(header.format for header in headers),
            "conversions": conversions,
            "widths": count(str(header.width // 16 * 16) for header in headers),
            "heights": count(str(header.height // 16 * 16) for header in headers),
            "file_bytes": count(str(histogram.file_size_bin(ref.file_bytes)) for ref in originals),
            "depth": [len(ends), min(least for least, _ in ends), max(most for _, most in ends)] if ends else [],
            "levels": (self._sum + histogram.add_up(self._levels, self._channels)).tolist(),
            "rejects": [dataclasses.asdict(r) for r in self._rejects.values()],
            **self._folds(),
        }

    def _folds(self) -> dict[str, Any]:
        """Returns the folds of the records, and what each fold holds by answer.

        It is empty if there are no folds.
        """
        repeats = max((len(item.ref.folds) for item in self._stored), default=0)
        if not repeats:
            return {}
        count = collections.Counter
        held = {
            f"{repeat}:{fold}": {
                "stored": count(i.ref.label for i in self._stored if i.ref.folds[repeat] == fold),
                "copies": count(i.ref.label for i in self._stored if i.ref.folds[repeat] == fold and i.copy),
            }
            for repeat in range(repeats)
            for fold in sorted({item.ref.folds[repeat] for item in self._stored})
        }
        texts = ["".join(DIGITS[item.ref.folds[repeat]] for item in self._stored) for repeat in range(repeats)]
        return {"folds": texts, "is_copy": "".join("1" if i.copy else "0" for i in self._stored), "in_folds": held}


class _Pictures:
    """Makes thumbnails of a few sources of each class and of each policy.

    Where a class has copies, they show an original and one of its copies.
    """

    def __init__(self, items: Sequence[Item], shard: Shard, spec: RecordSpec, workers: Workers, answers: Answers):
        self._shard, self._spec, self._workers = shard, spec, workers
        self._has_classes = bool(answers.labels)
        self._copied = {item.ref.label for item in items if item.copy}
        self._taken: collections.Counter[str] = collections.Counter()
        self._made: list[Outcome] = []
        self._of_policy: collections.Counter[str] = collections.Counter()
        self._examples: list[Outcome] = []

    def add(self, item: Item) -> None:
        """Requests thumbnails of an item whose class or policies have too few yet.

        It does not wait for the thumbnails.
        """
        if not item.copy:
            self._add_example(item.ref)
        label = item.ref.label
        group, most = (label, self._shard.thumbnails) if self._has_classes and label else ("", OF_NUMBERS)
        most = most if self._shard.thumbnails else 0
        if (item.copy > 0) != (label in self._copied) or self._taken[group] >= most:
            return
        copies = sorted({0, item.copy})
        if len(copies) * len(self._made) < MAX_THUMBNAILS:
            self._taken[group] += 1
            self._made += self._asked(item.ref, copies, ())

    def _add_example(self, ref: Ref) -> None:
        policies = [name for name in Header(*ref.header).conversions if name in VISIBLE]
        if any(self._of_policy[name] < self._shard.examples for name in policies):
            self._of_policy.update(policies)
            self._examples += self._asked(ref, [0], policies)

    def _asked(self, ref: Ref, copies: Sequence[int], policies: Sequence[str]) -> list[Outcome]:
        asked = (ref, copies, self._shard.split, policies)
        return self._workers.submit("thumbnails", (self._spec,), [asked], self._spec.limits.image_timeout)

    def result(self) -> list[dict[str, Any]]:
        """Waits for all thumbnails and returns them in the form that the report uses."""
        shown = []
        for made in (*self._made, *self._examples):
            try:
                shown += made.result()
            except TaskLostError:  # the picture is only for the report: its record is written
                continue
        return shown


_as_json = json.JSONEncoder(ensure_ascii=False).encode


def _ledger_line(item: Item, metadata: Sequence[MetadataColumn]) -> bytes:
    ref, header = item.ref, Header(*item.ref.header)
    line: dict[str, Any] = {
        "key": hashing.record_key(ref.key, item.copy),
        "uri": ref.uri,
        "label": ref.label,
        "digest": ref.digest,
        "copy": item.copy,
        "width": header.width,
        "height": header.height,
    }
    if not header.in_graph:
        line["in_graph"] = False
    if metadata:
        line["metadata"] = {column.name: value for column, value in zip(metadata, ref.metadata, strict=True)}
    return _as_json(line).encode("utf-8", "backslashreplace") + b"\n"


def _task_digest(
    file: str, items: Sequence[Item], labels: Sequence[str], config_digest: str, metadata: Sequence[MetadataColumn]
) -> str:
    content = [
        [i.ref.key, i.ref.digest, i.ref.label, i.ref.weight, i.copy, *i.ref.folds, *i.ref.metadata] for i in items
    ]
    kept = [[[column.name, column.dtype] for column in metadata]] if metadata else []
    return hashing.text_digest(json.dumps([file, config_digest, list(labels), content, *kept]))


def _known(note_path: str, digest: str, path: str) -> dict[str, Any] | None:
    """Returns the note of an earlier run on the same task, if its file is unchanged.

    Publishing moves the file.
    """
    try:
        note = json.loads(storage.read_text(note_path))
    except (OSError, ValueError):  # there is none, or it is incomplete or not ours: make the shard again
        return None
    if not isinstance(note, dict) or note.get("task_digest") != digest:
        return None
    try:
        found = storage.sha256(path)
    except OSError:
        return None
    if found != note["sha256"]:
        _log.warning("Makes %s anew: it has changed since an earlier run wrote it.", path)
        return None
    return note


def _rejects_stand(account: Mapping[str, Any], limits: Limits) -> bool:
    """Tells whether this run would reject what an earlier one rejected in a shard.

    It would if the reasons follow from the bytes, and the limits are the same: a decoder that fails to get memory may
    report that as damage.
    """
    rejects = account["rejects"]
    same = account["limits"] == limits.noted()
    return not rejects or (same and not any(rejected["reason"] in PASSING for rejected in rejects))


def _with_paths_of(
    items: Sequence[Item],
    account: dict[str, Any],
    account_path: str,
    ledger_path: str,
    metadata: Sequence[MetadataColumn],
) -> dict[str, Any]:
    """Writes the ledger of a kept shard with the paths of this run.

    The input may have moved, or may be named otherwise, since the shard was staged.

    Returns:
      The account with these paths. It is stored again if they are other ones.
    """
    keys, uris = account["keys"], {item.ref.key: item.ref.uri for item in items}
    rejected = {keys[entry["uri"]] for entry in account["rejects"]}
    with storage.writing(ledger_path) as lines:
        ledger = hashing.Hashed(lines)
        for item in items:
            if item.ref.key not in rejected:
                ledger.write(_ledger_line(item, metadata))

    def moved(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "uri": uris[keys[entry["uri"]]]} for entry in entries]

    renewed = {
        **account,
        "ledger_sha256": ledger.sha256.hexdigest(),
        "rejects": moved(account["rejects"]),
        "thumbnails": moved(account["thumbnails"]),
        "keys": {uris[key]: key for key in keys.values()},
    }
    if renewed != account:
        storage.write_text(account_path, json.dumps(renewed))
    return renewed
