"""The stages of the graph: thin wrappers that give pure functions of other modules their elements."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from pipelines import storage, work_dir
from pipelines.config import PrepareConfig
from pipelines.core import elements, hashing, progress
from pipelines.core.elements import Ref, Source, pack, unpack
from pipelines.core.summary import Rejected
from pipelines.inputs import listing
from pipelines.job import accounting, counters, worker_versions
from pipelines.plan import balance, duplicates, plan
from pipelines.records import shard_writer
from pipelines.work_dir import Work
from pipelines.workers import pool
from pipelines.workers.pool import TaskLostError

# Sources listed in one element: Beam's cost per element is then small beside the reading of the files.
BATCH = 1024
# Sources that a worker fingerprints at a time: what is asked and answered is then small beside the reading.
PART = 16
# References in one element after they were shuffled, about.
BUCKET = 1024
# Files at most that rejects and the like are written to, each by one worker.
LINE_FILES = 16


def list_batches(_: str, config: PrepareConfig) -> Iterator[Any]:
    """Lists the input: (number, packed sources) of each batch, and rejects aside."""
    batch: list[Source] = []
    for item in listing.list_sources(config):
        if isinstance(item, Rejected):
            counters.count_reject(item)
            yield TaggedOutput("rejected", item)
        else:
            batch.append(item)
            if len(batch) == BATCH:
                yield len(batch), pack(batch)
                batch = []
    if batch:
        yield len(batch), pack(batch)


def note_listed(count: int, work: Work) -> int:
    """Keeps the number of inputs for `accounting.summarize`."""
    storage.write_text(work.path(work_dir.LISTED), str(count))
    return count


class _WithWorkers(beam.DoFn):
    """A stage whose work is done in worker processes, wherever it runs.

    Raises:
      VersionsError: that is not what the program is that sent the job.
    """

    def __init__(self, config: PrepareConfig):
        self._config = config
        self._versions = worker_versions.here()

    def setup(self) -> None:
        worker_versions.check(self._versions)
        self._workers = pool.decoders(self._config)


class Fingerprint(_WithWorkers):
    """Reads each file once: digest and header. Sources -> (bucket, packed (digest, Ref)), and rejects aside."""

    def process(self, numbered: tuple[int, bytes], total: int) -> Iterator[Any]:
        batch: list[Source] = list(unpack([numbered[1]]))
        futures: list[concurrent.futures.Future[Ref | Rejected]] = []
        for start in range(0, len(batch), PART):
            part = [(source,) for source in batch[start : start + PART]]
            futures += self._workers.submit("fingerprint", (self._config,), part, self._config.image_timeout)
        refs: list[tuple[str, Ref]] = []
        for source, future in zip(batch, futures, strict=True):
            result = _fingerprint(source, future)
            if isinstance(result, Rejected):
                counters.count_reject(result)
                yield TaggedOutput("rejected", result)
            else:
                refs.append((result.digest, result))
        counters.count("images_read", len(batch))
        counters.count("bytes_read", sum(ref.file_bytes for _, ref in refs))
        progress.advance(len(batch))
        yield from in_buckets(refs, total)


def _fingerprint(source: Source, future: concurrent.futures.Future[Ref | Rejected]) -> Ref | Rejected:
    try:
        return future.result()
    except TaskLostError as e:
        return Rejected(source.uri, source.label, source.split, "", "fingerprint", e.reason, str(e))


def in_buckets(refs: Iterable[tuple[str, Ref]], total: int) -> Iterator[tuple[int, bytes]]:
    """(unit, Ref) -> (bucket, packed): a unit is in one bucket, and a bucket holds about BUCKET of `total`.

    What comes of a unit does not depend on its bucket: buckets only keep the number of elements small.
    """
    buckets: dict[int, list[tuple[str, Ref]]] = collections.defaultdict(list)
    count = max(1, total // BUCKET)
    for unit, ref in refs:
        buckets[hashing.position(0, "bucket", unit) % count].append((unit, ref))
    for bucket, pairs in buckets.items():
        yield bucket, pack(pairs)


def units_of(bucket: tuple[int, Iterable[bytes]]) -> Iterator[tuple[str, list[Ref]]]:
    """(unit, its refs in order) of each unit in a bucket."""
    for unit, pairs in itertools.groupby(sorted(unpack(bucket[1])), key=lambda pair: pair[0]):
        yield unit, [ref for _, ref in pairs]


def bridges(bucket: tuple[int, Iterable[bytes]]) -> Iterator[list[str]]:
    """The groups that equal content connects, where there is more than one."""
    for digest, refs in units_of(bucket):
        groups = sorted({ref.group or digest for ref in refs})
        if len(groups) > 1:
            yield groups


def by_group(bucket: tuple[int, Iterable[bytes]], merged: Mapping[str, str], total: int) -> Iterator[tuple[int, bytes]]:
    """(bucket, packed (unit, Ref)): the unit is the group, its merged group, or the content itself."""
    pairs = ((ref.group or digest, ref) for digest, refs in units_of(bucket) for ref in refs)
    yield from in_buckets(((merged.get(group, group), ref) for group, ref in pairs), total)


def unit_ranks(
    bucket: tuple[int, Iterable[bytes]], config: PrepareConfig
) -> Iterator[tuple[str, balance.RankHistogram]]:
    """(label, its units' places on the hash line, each weighing its images), but for units whose split is given."""
    ranks: dict[str, balance.RankHistogram] = collections.defaultdict(balance.RankHistogram)
    for unit, everything in units_of(bucket):
        refs = duplicates.separate(everything, config)[0]
        if refs and not any(ref.split for ref in refs):
            ranks[unit_label(refs)].add(hashing.position(config.seed, "split", unit), len(refs))
    yield from ranks.items()


def unit_label(refs: list[Ref]) -> str:
    """The label that a unit counts for in stratifying: its most frequent one, of equals the first by name."""
    counts = collections.Counter(ref.label for ref in refs)
    return min(counts, key=lambda label: (-counts[label], label))


def assign_split(
    bucket: tuple[int, Iterable[bytes]], config: PrepareConfig, cuts: Mapping[str, list[tuple[int, str]]]
) -> Iterator[Any]:
    """Packed refs with their split, and the equal ones among them aside.

    Given splits stay; the rest of a unit follows the first of them. With --duplicates drop, those that go are rejects;
    they decide nothing about the others.
    """
    assigned: list[Ref] = []
    for unit, everything in units_of(bucket):
        refs, rejected = duplicates.separate(everything, config)
        given = [ref.split for ref in refs if ref.split]
        split = ""  # of a unit of which nothing is left
        if given:
            split = given[0]
        elif refs:
            split = balance.split_of(hashing.position(config.seed, "split", unit), cuts[unit_label(refs)])
        assigned += [ref if ref.split else ref._replace(split=split) for ref in refs]
        for reject in rejected:
            counters.count_reject(reject)
            yield TaggedOutput("rejected", reject)
        if len(everything) > 1:
            for equal in duplicates.groups(ref._replace(split=ref.split or split) for ref in everything):
                yield TaggedOutput("duplicates", duplicates.told(equal))
    for start in range(0, len(assigned), BUCKET):  # a unit may be large: all of it in one element would be, too
        yield pack(assigned[start : start + BUCKET])


def image_ranks(refs: bytes, config: PrepareConfig) -> Iterator[tuple[tuple[str, str], balance.RankHistogram]]:
    """((split, label), the places of its images on the hash line): what the ranks for balancing are made of."""
    ranks: dict[tuple[str, str], balance.RankHistogram] = collections.defaultdict(balance.RankHistogram)
    for ref in unpack([refs]):
        ranks[ref.split, ref.label].add(hashing.position(config.seed, "balance", ref.key))
    yield from ranks.items()


def targets(totals: Mapping[tuple[str, str], int], config: PrepareConfig) -> dict[str, int]:
    """(split, label) -> images, made into the records that each label of train should have."""
    train = {label: count for (split, label), count in totals.items() if split == "train"}
    return balance.targets(train, config) if train else {}


def share_of(
    ranked: tuple[tuple[str, str], balance.RankHistogram], config: PrepareConfig, wanted: Mapping[str, int]
) -> tuple[tuple[str, str], plan.Share]:
    """((split, label), its share of the plan): so the histograms, megabytes each, are never together in one place."""
    (split, label), ranks = ranked
    return (split, label), plan.share_of(wanted[label] if split == "train" else None, ranks, config)


def make_plan(shares: Mapping[tuple[str, str], plan.Share], config: PrepareConfig, work: Work) -> plan.Plan:
    """Makes the plan and notes it for the publisher."""
    made = plan.make_plan(shares, config)
    storage.write_text(work.path("plan.json"), made.to_json())
    progress.begin("preparing", sum(made.records.values()))
    return made


def assign_shard(refs: bytes, config: PrepareConfig, the_plan: plan.Plan) -> Iterator[Any]:
    """((split, shard), packed Items) of every record; images that the balance leaves out go aside."""
    by_shard: dict[tuple[str, int], list[elements.Item]] = collections.defaultdict(list)
    for ref in unpack([refs]):
        found = False
        for shard, item in plan.items_of(ref, the_plan, config):
            found = True
            by_shard[shard].append(item)
        if not found:
            yield TaggedOutput(
                "unused", Rejected(ref.uri, ref.label, ref.split, ref.digest, "plan", "undersampled", "")
            )
    for shard, items in by_shard.items():
        yield shard, pack(items)


def every_shard_key(_: None, the_plan: plan.Plan) -> Iterator[tuple[tuple[str, int], bytes]]:
    """Every shard once, so that one without records is written too: an empty file, as its name's count demands.

    Those of train come first, and the local runner keeps to that order: the analysis waits for them.
    """
    for split, total in sorted(the_plan.shards.items(), key=lambda item: item[0] != "train"):
        for index in range(total):
            yield (split, index), pack([])


class PackLines(beam.DoFn):
    """Rejects and the like -> (number of their file, packed JSON lines): in which file one is changes nothing."""

    def start_bundle(self) -> None:
        self._lines: dict[int, list[str]] = collections.defaultdict(list)

    def process(self, element: Any) -> Iterator[tuple[int, bytes]]:
        line = json.dumps(dataclasses.asdict(element), ensure_ascii=False)
        number = zlib.crc32(line.encode("utf-8", "backslashreplace")) % LINE_FILES
        self._lines[number].append(line)
        if len(self._lines[number]) == BATCH:
            yield number, pack(self._lines.pop(number))

    def finish_bundle(self) -> Iterator[Any]:
        for number, lines in self._lines.items():
            yield GlobalWindows.windowed_value((number, pack(lines)))


def write_lines(file_to_lines: tuple[int, Iterable[bytes]], folder: str) -> None:
    """Writes the lines of one file: an engine that does it again writes the same."""
    number, packed = file_to_lines
    with storage.writing(storage.join(folder, f"part-{number:05d}.jsonl")) as file:
        for line in unpack(packed):
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")


class WriteShard(_WithWorkers):
    """((split, shard), [packed Items]) -> the shard's account; see `shard_writer.write_shard`."""

    def __init__(self, config: PrepareConfig, work: Work):
        super().__init__(config)
        self._work = work

    def process(self, shard_to_items: tuple[tuple[str, int], Iterable[bytes]], the_plan: plan.Plan) -> Iterator[str]:
        (split, index), items = shard_to_items
        file = plan.file_name(self._config.dataset_name, split, index, the_plan.shards[split])
        # Shards are in hash order: the first holds a fair sample of its split for the report's pictures.
        shard = shard_writer.Shard(file, split, pictures=index == 0)
        account = shard_writer.write_shard(
            shard, unpack(items), the_plan.labels, self._config, self._work, self._workers
        )
        counters.count("records_written", account["records"])
        for reject in account["rejects"]:
            counters.count_reject(Rejected(**reject))
        if split == "train":
            storage.write_text(self._work.path(work_dir.STAGED, file), "")
        yield file


class FinishShard(_WithWorkers):
    """A staged shard's file -> nothing; see `shard_writer.finish_shard`. As many at once as there are workers."""

    def __init__(self, config: PrepareConfig, work: Work, affine: elements.Affine | None):
        super().__init__(config)
        self._work, self._affine = work, affine

    def start_bundle(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(self._workers.count, "finish")
        self._finishing: list[concurrent.futures.Future[Any]] = []

    def process(self, file: str) -> None:
        self._finishing.append(self._pool.submit(self._finish, file))

    def finish_bundle(self) -> None:
        try:
            for one in self._finishing:
                counters.count("bytes_written", one.result()["bytes"])  # here: no counter counts in other threads
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _finish(self, file: str) -> dict[str, Any]:
        account = shard_writer.read_account(file, self._work)
        return shard_writer.finish_shard(account, self._affine, self._config, self._work, self._workers)


def staged_files(_: None, config: PrepareConfig, work: Work) -> list[str]:
    """The names of the shards that the plan demands."""
    return [file for files in plan.shard_names(accounting.read_plan(work), config).values() for file in files]


class MergeRanks(beam.CombineFn):
    """RankHistograms -> one."""

    def create_accumulator(self) -> balance.RankHistogram:
        return balance.RankHistogram()

    def add_input(self, merged: balance.RankHistogram, histogram: balance.RankHistogram) -> balance.RankHistogram:
        merged.merge(histogram)
        return merged

    def merge_accumulators(self, histograms: Iterable[balance.RankHistogram]) -> balance.RankHistogram:
        return functools.reduce(self.add_input, histograms, balance.RankHistogram())

    def extract_output(self, merged: balance.RankHistogram) -> balance.RankHistogram:
        return merged
