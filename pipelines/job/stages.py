"""Defines the stages of the graph, but for those of `split_units.py`.

Each stage is a thin wrapper that passes elements to a pure function of another module.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from pipelines import storage, work_dir
from pipelines.core import elements, hashing
from pipelines.core.console import progress
from pipelines.core.elements import TRAIN_SPLIT, Ref, Source, pack, unpack
from pipelines.core.summary import Rejected, may_pass
from pipelines.dataset import earlier_dataset
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec
from pipelines.job import counters, split_units, worker_versions
from pipelines.job.results import accounting
from pipelines.plan import balance, plan, rank_histogram
from pipelines.records import shard_writer
from pipelines.records.record_spec import RecordSpec
from pipelines.tasks.kind import Kind
from pipelines.tasks.kinds import ONE_CLASS
from pipelines.work_dir import Work
from pipelines.workers.pool import Outcome, Workers
from pipelines.workers.worker_process import TaskLostError

# Sources listed in one element: Beam's cost per element is then small compared with reading the files.
BATCH = 1024
# Sources that a worker fingerprints at a time: the cost of messages is then small compared with reading the files.
PART = 16
# Pictures of each policy that a shard draws for the report, in the first shards of each split: a rare policy is not in
# the first one, and pictures of all shards would be hundreds of megabytes.
EXAMPLES, EXAMPLE_SHARDS = 1, 16
# Largest number of files for rejects, duplicates or unused images; one worker writes each file.
LINE_FILES = 16


def list_batches(_: str, spec: InputSpec) -> Iterator[Any]:
    """Lists the input; yields (number of sources, packed sources) of each batch.

    Rejects go to the output "rejected".
    """
    batch: list[Source] = []
    for item in listing.list_sources(spec):
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


def earlier_images(part: tuple[str, str], directory: str, total: int) -> Iterator[tuple[int, bytes]]:
    """Reads images of the dataset of --like.

    Yields (bucket, packed (digest, Ref)), as `Fingerprint` does.

    Args:
      part: see `earlier_dataset.parts`.
      directory: the dataset's.
      total: the number of inputs.
    """
    yield from split_units.in_buckets(((ref.digest, ref) for ref in earlier_dataset.images(directory, *part)), total)


def note_listed(count: int, work: Work) -> int:
    """Saves the number of inputs for `accounting.summarize` and returns it."""
    storage.write_text(work.path(work_dir.LISTED), str(count))
    return count


class _WithWorkers(beam.DoFn):
    """Starts the worker processes that a stage uses on the machine where it runs.

    Args:
      start_workers: returns them. It is called on that machine.

    Raises:
      VersionsError: code or libraries of this machine differ from those of the program that sent the job.
    """

    def __init__(self, start_workers: Callable[[], Workers]):
        self._start_workers = start_workers
        self._versions = worker_versions.here()

    def setup(self) -> None:
        worker_versions.check(self._versions)
        self._workers = self._start_workers()


class Fingerprint(_WithWorkers):
    """Reads each file once to get its digest and its header.

    If `look` is true, it also gets the perceptual hash. Input: (number of sources, packed Sources). Output: (bucket,
    packed (digest, Ref)). Rejects go to the output "rejected".
    """

    def __init__(self, start_workers: Callable[[], Workers], limits: Limits, policy: SourcePolicy, look: bool = False):
        super().__init__(start_workers)
        self._limits, self._policy, self._look = limits, policy, look

    def process(self, numbered: tuple[int, bytes], total: int) -> Iterator[Any]:
        batch: list[Source] = list(unpack([numbered[1]]))
        outcomes: list[Outcome] = []
        for start in range(0, len(batch), PART):
            part = [(source,) for source in batch[start : start + PART]]
            shared = (self._limits, self._policy, self._look)
            outcomes += self._workers.submit("fingerprint", shared, part, self._limits.image_timeout, may_pass)
        refs: list[tuple[str, Ref]] = []
        for source, outcome in zip(batch, outcomes, strict=True):
            result = _fingerprint(source, outcome)
            if isinstance(result, Rejected):
                counters.count_reject(result)
                yield TaggedOutput("rejected", result)
            else:
                refs.append((result.digest, result))
        counters.count("images_read", len(batch))
        counters.count("bytes_read", sum(ref.file_bytes for _, ref in refs))
        progress.advance(len(batch))
        yield from split_units.in_buckets(refs, total)


class Measure(_WithWorkers):
    """Decodes the images with deep pixels to get the range of their values.

    Input: (number of sources, packed Sources). Output: (low, high) for each batch that has such images.
    """

    def __init__(self, start_workers: Callable[[], Workers], limits: Limits, policy: SourcePolicy):
        super().__init__(start_workers)
        self._limits, self._policy = limits, policy

    def process(self, numbered: tuple[int, bytes]) -> Iterator[tuple[float, float]]:
        batch: list[Source] = list(unpack([numbered[1]]))
        outcomes: list[Outcome] = []
        for start in range(0, len(batch), PART):
            part = [(source,) for source in batch[start : start + PART]]
            shared = (self._limits, self._policy)
            outcomes += self._workers.submit("measure", shared, part, self._limits.image_timeout)
        found = []
        for outcome in outcomes:
            with contextlib.suppress(TaskLostError):  # the next job rejects the image
                found.append(outcome.result())
        progress.advance(len(batch))
        yield from widest(ends for ends in found if ends is not None)


def widest(ranges: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the range that holds all ranges, in a list; [] if there is none."""
    known = list(ranges)
    return [(min(low for low, _ in known), max(high for _, high in known))] if known else []


class Widest(beam.CombineFn):
    """Merges ranges (low, high) into one; the result is a list as of `widest`."""

    def create_accumulator(self) -> list[tuple[float, float]]:
        return []

    def add_input(self, merged: list[tuple[float, float]], ends: tuple[float, float]) -> list[tuple[float, float]]:
        return widest([*merged, ends])

    def merge_accumulators(self, several: Iterable[list[tuple[float, float]]]) -> list[tuple[float, float]]:
        return widest(ends for merged in several for ends in merged)

    def extract_output(self, merged: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return merged


def note_range(found: list[tuple[float, float]], work: Work) -> None:
    """Saves the range for the program that started the job."""
    storage.write_text(work.path(work_dir.VALUE_RANGE), json.dumps(found))


def _fingerprint(source: Source, outcome: Outcome) -> Ref | Rejected:
    try:
        found: Ref | Rejected = outcome.result()
        return found
    except TaskLostError as e:
        return Rejected(source.uri, source.label, source.split, "", "fingerprint", e.reason, str(e))


Counts = Mapping[tuple[str, str], int]  # (split, label) -> images that carry the label


def label_counts(refs: bytes, kind: Kind) -> Iterator[tuple[tuple[str, str], int]]:
    """Yields ((split, label), number of images that carry the label)."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for ref in unpack([refs]):
        counts.update((ref.split, label) for label in kind.labels(ref.label))
    yield from counts.items()


def of_train(counts: Counts) -> dict[str, int]:
    """Returns the counts of the labels of train."""
    return {label: count for (split, label), count in counts.items() if split == TRAIN_SPLIT}


def image_ranks(
    refs: bytes, seed: int, kind: Kind, counts: Counts
) -> Iterator[tuple[tuple[str, str], rank_histogram.RankHistogram]]:
    """Collects hash positions of images; yields ((split, stratum), RankHistogram).

    Balancing takes its ranks from these histograms. The stratum of an image of one class is the class.

    Args:
      counts: The images of each label, if they do not have one class each.
    """
    in_train = of_train(counts)
    ranks: dict[tuple[str, str], rank_histogram.RankHistogram] = collections.defaultdict(rank_histogram.RankHistogram)
    for ref in unpack([refs]):
        stratum = plan.NO_LABEL if kind.is_unknown(ref.label) else kind.stratum(ref.label, in_train)
        ranks[ref.split, stratum].add(hashing.position(seed, "balance", ref.key))
    yield from ranks.items()


def targets(
    totals: Counts, wanted: balance.Balance, kind: Kind = ONE_CLASS, counts: Counts = MappingProxyType({})
) -> dict[str, int]:
    """Returns the number of records that each stratum of train should have.

    Args:
      totals: (split, stratum) -> number of images.
      counts: as of `image_ranks`.
    """
    train = of_train(totals)
    if not kind.is_one_class:
        return balance.of_strata(train, of_train(counts), wanted)
    return balance.targets(train, wanted) if train else {}


def share_of(
    ranked: tuple[tuple[str, str], rank_histogram.RankHistogram], max_copies: int, wanted: Mapping[str, int]
) -> tuple[tuple[str, str], plan.Share]:
    """Returns ((split, stratum), its share of the plan).

    Shares are small. Histograms have megabytes each, so they are never gathered in one process.

    Args:
      wanted: stratum -> number of records in train.
    """
    (split, label), ranks = ranked
    return (split, label), plan.share_of(wanted[label] if split == TRAIN_SPLIT else None, ranks, max_copies)


def make_plan(
    shares: Mapping[tuple[str, str], plan.Share],
    mode: str,
    sharding: plan.Sharding,
    first: Sequence[str],
    work: Work,
    kind: Kind,
    counts: Counts,
) -> plan.Plan:
    """Makes the plan and saves it for `accounting.read_plan`."""
    made = plan.make_plan(shares, mode, sharding, first, kind.name, None if kind.is_one_class else counts)
    storage.write_text(work.path("plan.json"), made.to_json())
    progress.begin("preparing", sum(made.records.values()))
    return made


def assign_shard(refs: bytes, seed: int, the_plan: plan.Plan) -> Iterator[Any]:
    """Assigns every record to a shard; yields ((split, shard), packed Items).

    Images that the balance leaves out go to the output "unused".
    """
    by_shard: dict[tuple[str, int], list[elements.Item]] = collections.defaultdict(list)
    for ref in unpack([refs]):
        found = False
        for shard, item in plan.items_of(ref, the_plan, seed):
            found = True
            by_shard[shard].append(item)
        if not found:
            yield TaggedOutput(
                "unused", Rejected(ref.uri, ref.label, ref.split, ref.digest, "plan", "undersampled", "")
            )
    for shard, items in by_shard.items():
        yield shard, pack(items)


def every_shard_key(_: None, the_plan: plan.Plan) -> Iterator[tuple[tuple[str, int], bytes]]:
    """Yields every shard once with no items, so that empty shards are written too.

    File names contain the number of shards, so every file has to exist. Shards of train come first and the local
    runner keeps that order, because the analysis waits for them.
    """
    for split, total in sorted(the_plan.shards.items(), key=lambda item: item[0] != TRAIN_SPLIT):
        for index in range(total):
            yield (split, index), pack([])


class PackLines(beam.DoFn):
    """Packs rejects, duplicates or unused images as JSON lines for files.

    Output: (file number, packed lines). The file of a line has no influence on the result.
    """

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
    """Writes the lines of one file. A retry by the engine writes the same file."""
    number, packed = file_to_lines
    with storage.writing(storage.join(folder, f"part-{number:05d}.jsonl")) as file:
        for line in unpack(packed):
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")


class WriteShard(_WithWorkers):
    """Writes one staged shard and its account: see `shard_writer.write_shard`.

    Input: ((split, shard), [packed Items]). Output: the shard's file name.

    Args:
      dataset: the dataset's name.
      thumbnails: the number of sources per class and split that the report shows.
      config_digest: identifies all options that the shards depend on.
    """

    def __init__(
        self,
        start_workers: Callable[[], Workers],
        dataset: str,
        spec: RecordSpec,
        thumbnails: int,
        config_digest: str,
        work: Work,
    ):
        super().__init__(start_workers)
        self._dataset, self._spec, self._thumbnails = dataset, spec, thumbnails
        self._config_digest, self._work = config_digest, work

    def process(self, shard_to_items: tuple[tuple[str, int], Iterable[bytes]], the_plan: plan.Plan) -> Iterator[str]:
        (split, index), items = shard_to_items
        file = plan.file_name(self._dataset, split, index, the_plan.shards[split])
        # Shards are in hash order, so the first is a random sample of its split, for the report's pictures.
        examples = EXAMPLES if self._thumbnails and index < EXAMPLE_SHARDS else 0
        shard = shard_writer.Shard(file, split, self._thumbnails if index == 0 else 0, examples)
        account = shard_writer.write_shard(
            shard, unpack(items), the_plan.answers, self._spec, self._config_digest, self._work, self._workers
        )
        counters.count("records_written", account["records"])
        for reject in account["rejects"]:
            counters.count_reject(Rejected(**reject))
        if split == TRAIN_SPLIT:
            storage.write_text(self._work.path(work_dir.STAGED, file), "")
        yield file


class FinishShard(_WithWorkers):
    """Finishes staged shards: see `shard_writer.finish_shard`.

    Input: the shard's file name. It finishes as many shards at once as there are workers.
    """

    def __init__(self, start_workers: Callable[[], Workers], affine: elements.Affine | None, encoding: str, work: Work):
        super().__init__(start_workers)
        self._affine, self._encoding, self._work = affine, encoding, work

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
        return shard_writer.finish_shard(account, self._affine, self._encoding, self._work, self._workers)


def staged_files(_: None, dataset: str, work: Work) -> list[str]:
    """Lists the file names of all shards in the plan."""
    return [file for files in plan.shard_names(accounting.read_plan(work), dataset).values() for file in files]


class MergeRanks(beam.CombineFn):
    """Merges RankHistograms into one."""

    def create_accumulator(self) -> rank_histogram.RankHistogram:
        return rank_histogram.RankHistogram()

    def add_input(
        self, merged: rank_histogram.RankHistogram, histogram: rank_histogram.RankHistogram
    ) -> rank_histogram.RankHistogram:
        merged.merge(histogram)
        return merged

    def merge_accumulators(self, histograms: Iterable[rank_histogram.RankHistogram]) -> rank_histogram.RankHistogram:
        return functools.reduce(self.add_input, histograms, rank_histogram.RankHistogram())

    def extract_output(self, merged: rank_histogram.RankHistogram) -> rank_histogram.RankHistogram:
        return merged
