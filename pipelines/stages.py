"""The stages of the graph: thin wrappers that give pure functions of other modules their elements."""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from pipelines import balance, formats, hashing, listing, plan, progress, records, shards, storage, transform, workspace
from pipelines.config import PrepareConfig
from pipelines.source import Ref, Source
from pipelines.summary import Duplicates, Rejected
from pipelines.workspace import Work

# Sources listed in one element: Beam's cost per element is then small beside the reading of the files.
BATCH = 64


def list_batches(_: str, config: PrepareConfig) -> Iterator[Any]:
    """Lists the input: batches of sources, and rejects aside."""
    batch: list[Source] = []
    for item in listing.list_sources(config):
        if isinstance(item, Rejected):
            yield TaggedOutput("rejected", item)
        elif not item.label.isprintable() or not item.label.strip():
            detail = "A label should be printable text."
            yield TaggedOutput("rejected", Rejected(item.uri, repr(item.label), "", "", "list", "bad-label", detail))
        else:
            batch.append(item)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def note_listed(count: int, work: Work) -> None:
    """Keeps the number of inputs for `tally.summarize`."""
    storage.write_text(work.path(workspace.LISTED), str(count))


class _Threaded(beam.DoFn):
    """A DoFn with a thread pool: TensorFlow's decoders and the file system release the interpreter lock."""

    def __init__(self, config: PrepareConfig):
        self._config = config

    def setup(self) -> None:
        self._threads = self._config.workers or os.cpu_count() or 1
        self._pool = concurrent.futures.ThreadPoolExecutor(self._threads, thread_name_prefix="shardmill")

    def teardown(self) -> None:
        self._pool.shutdown()


class Fingerprint(_Threaded):
    """Reads each file once: digest and header. list[Source] -> Ref, and rejects aside."""

    def process(self, batch: list[Source]) -> Iterator[Any]:
        for result in self._pool.map(lambda s: fingerprint(s, self._config), batch):
            yield TaggedOutput("rejected", result) if isinstance(result, Rejected) else result
        progress.advance(len(batch))


def fingerprint(item: Source, config: PrepareConfig) -> Ref | Rejected:
    """A source whose bytes have been seen, or why it cannot be used. Decodes no pixels."""
    digest = ""
    try:
        data = storage.read_input(item.uri, config.max_file_bytes)
        digest = hashlib.sha256(data).hexdigest()
        formats.read_header(data, config.max_pixels)
    except (storage.StorageError, formats.ImageError) as e:
        return Rejected(item.uri, item.label, item.split, digest, "fingerprint", e.reason, str(e))
    return Ref(*item, digest)


def bridge(digest_to_refs: tuple[str, Iterable[Ref]]) -> Iterator[list[str]]:
    """The groups that equal content connects, where there is more than one."""
    digest, refs = digest_to_refs
    groups = sorted({ref.group or digest for ref in refs})
    if len(groups) > 1:
        yield groups


def key_by_group(digest_to_refs: tuple[str, Iterable[Ref]], merged: Mapping[str, str]) -> Iterator[tuple[str, Ref]]:
    """(unit, Ref): the unit is the group, its merged group, or the content itself."""
    digest, refs = digest_to_refs
    for ref in refs:
        group = ref.group or digest
        yield merged.get(group, group), ref


def unit_position(
    unit_to_refs: tuple[str, Iterable[Ref]], config: PrepareConfig
) -> Iterator[tuple[str, tuple[int, int]]]:
    """(the unit's label, (its place on the hash line, its number of images)), unless its split is given."""
    unit, refs = unit_to_refs[0], list(unit_to_refs[1])
    if not any(ref.split for ref in refs):
        yield unit_label(refs), (hashing.position(config.seed, "split", unit), len(refs))


def unit_label(refs: list[Ref]) -> str:
    """The label that a unit counts for in stratifying: its most frequent one, of equals the first by name."""
    labels = sorted(ref.label for ref in refs)
    return max(dict.fromkeys(labels), key=labels.count)


def assign_split(
    unit_to_refs: tuple[str, Iterable[Ref]], config: PrepareConfig, cuts: Mapping[str, list[tuple[int, str]]]
) -> Iterator[Any]:
    """Refs with their split, and the equal ones among them aside. Given splits stay; the rest of a unit follows."""
    unit, refs = unit_to_refs[0], sorted(unit_to_refs[1])
    given = [ref.split for ref in refs if ref.split]
    if given:
        split = given[0]
    else:
        split = balance.split_of(hashing.position(config.seed, "split", unit), cuts[unit_label(refs)])
    placed = [ref._replace(split=ref.split or split) for ref in refs]
    yield from placed
    for digest, equal in itertools.groupby(sorted(placed, key=lambda r: (r.digest, r.key)), key=lambda r: r.digest):
        members = tuple((r.uri, r.label, r.split) for r in equal)
        if len(members) > 1:
            yield TaggedOutput("duplicates", Duplicates(digest, members))


def image_position(ref: Ref, config: PrepareConfig) -> tuple[tuple[str, str], tuple[int, int]]:
    """((split, label), (the image's place on the hash line, 1)): what the ranks for balancing are made of."""
    return (ref.split, ref.label), (hashing.position(config.seed, "balance", ref.key), 1)


def make_plan(
    histograms: Mapping[tuple[str, str], balance.RankHistogram], config: PrepareConfig, work: Work
) -> plan.Plan:
    """Makes the plan and notes it for the publisher."""
    made = plan.make_plan(histograms, config)
    storage.write_text(work.path("plan.json"), made.to_json())
    progress.begin("preparing", sum(made.records.values()))
    return made


def assign_shard(ref: Ref, config: PrepareConfig, the_plan: plan.Plan) -> Iterator[Any]:
    """((split, shard), Item) of every record; images that the balance leaves out go aside."""
    found = False
    for item in plan.items_of(ref, the_plan, config):
        found = True
        yield item
    if not found:
        yield TaggedOutput("unused", Rejected(ref.uri, ref.label, ref.split, ref.digest, "plan", "undersampled", ""))


def every_shard_key(_: None, the_plan: plan.Plan) -> Iterator[tuple[tuple[str, int], None]]:
    """Every shard once, so that one without records is written too: an empty file, as its name's count demands."""
    for split, total in the_plan.shards.items():
        for index in range(total):
            yield (split, index), None


class WriteShard(_Threaded):
    """((split, shard), [Item or None]) -> the shard's account; see `shards.write_shard`."""

    def __init__(self, config: PrepareConfig, work: Work):
        super().__init__(config)
        self._work = work

    def process(
        self, shard_to_items: tuple[tuple[str, int], Iterable[shards.Item | None]], the_plan: plan.Plan
    ) -> Iterator[dict[str, Any]]:
        (split, index), items = shard_to_items
        file = shards.file_name(self._config.dataset_name, split, index, the_plan.shards[split])
        yield shards.write_shard(
            file,
            split,
            [item for item in items if item is not None],
            the_plan.labels,
            self._config,
            self._work,
            self._pool,
            window=shards.WINDOW * self._threads,
            picture=index == 0,  # shards are in hash order: the first holds a fair sample of its split
        )


class FinishShard(_Threaded):
    """A shard's account -> its file's name, count, size and digest; see `shards.finish_shard`."""

    def __init__(self, config: PrepareConfig, work: Work):
        super().__init__(config)
        self._work = work

    def process(self, account: dict[str, Any], affine: tuple[tuple[float, ...], tuple[float, ...]]) -> Iterator[dict]:
        yield shards.finish_shard(account, affine, self._config, self._work, self._pool)


def train_moments(account: Mapping[str, Any]) -> Iterator[dict[str, list[int]]]:
    """The pixel sums of a train shard's originals."""
    if account["split"] == "train":
        yield records.moments(records.as_levels(account["levels"]))


def analysis_rows(_: None, the_plan: plan.Plan, moments: Iterable[Mapping[str, list[int]]]) -> Iterator[dict[str, Any]]:
    """The rows that TensorFlow Transform analyzes; see `transform.analysis_rows`."""
    return transform.analysis_rows(the_plan.labels, moments)


class Ranks(beam.CombineFn):
    """Values (position, weight) -> RankHistogram."""

    def create_accumulator(self) -> balance.RankHistogram:
        return balance.RankHistogram()

    def add_input(self, histogram: balance.RankHistogram, element: tuple[int, int]) -> balance.RankHistogram:
        histogram.add(*element)
        return histogram

    def merge_accumulators(self, histograms: Iterable[balance.RankHistogram]) -> balance.RankHistogram:
        merged = balance.RankHistogram()
        for histogram in histograms:
            merged.merge(histogram)
        return merged

    def extract_output(self, histogram: balance.RankHistogram) -> balance.RankHistogram:
        return histogram
