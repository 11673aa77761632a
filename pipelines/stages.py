"""The stages of the graph: thin wrappers that give pure functions of other modules their elements."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from pipelines import balance, duplicates, hashing, listing, plan, progress, shards, storage, tally, workers, workspace
from pipelines.config import PrepareConfig
from pipelines.source import Ref, Source
from pipelines.summary import Duplicates, Rejected
from pipelines.workers import TaskLostError
from pipelines.workspace import Work

# Sources listed in one element: Beam's cost per element is then small beside the reading of the files.
BATCH = 1024
# Sources that a worker fingerprints at a time: what is asked and answered is then small beside the reading.
PART = 16


def list_batches(_: str, config: PrepareConfig) -> Iterator[Any]:
    """Lists the input: batches of sources, and rejects aside."""
    batch: list[Source] = []
    for item in listing.list_sources(config):
        if isinstance(item, Rejected):
            yield TaggedOutput("rejected", item)
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


class Fingerprint(beam.DoFn):
    """Reads each file once: digest and header. list[Source] -> Ref, and rejects aside."""

    def __init__(self, config: PrepareConfig):
        self._config = config

    def setup(self) -> None:
        self._workers = workers.shared(workers.usual_count(self._config.workers))

    def process(self, batch: list[Source]) -> Iterator[Any]:
        futures: list[concurrent.futures.Future[Ref | Rejected]] = []
        for start in range(0, len(batch), PART):
            part = [(source,) for source in batch[start : start + PART]]
            futures += self._workers.submit("fingerprint", (self._config,), part, self._config.image_timeout)
        for source, future in zip(batch, futures, strict=True):
            result = _fingerprint(source, future)
            yield TaggedOutput("rejected", result) if isinstance(result, Rejected) else result
        progress.advance(len(batch))


def _fingerprint(source: Source, future: concurrent.futures.Future[Ref | Rejected]) -> Ref | Rejected:
    try:
        return future.result()
    except TaskLostError as e:
        return Rejected(source.uri, source.label, source.split, "", "fingerprint", e.reason, str(e))


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
    unit, refs = unit_to_refs[0], duplicates.separate(unit_to_refs[1], config)[0]
    if refs and not any(ref.split for ref in refs):
        yield unit_label(refs), (hashing.position(config.seed, "split", unit), len(refs))


def unit_label(refs: list[Ref]) -> str:
    """The label that a unit counts for in stratifying: its most frequent one, of equals the first by name."""
    labels = sorted(ref.label for ref in refs)
    return max(dict.fromkeys(labels), key=labels.count)


def assign_split(
    unit_to_refs: tuple[str, Iterable[Ref]], config: PrepareConfig, cuts: Mapping[str, list[tuple[int, str]]]
) -> Iterator[Any]:
    """Refs with their split, and the equal ones among them aside. Given splits stay; the rest of a unit follows.

    With --duplicates drop, those that go are rejects; they decide nothing about the others.
    """
    unit, everything = unit_to_refs[0], sorted(unit_to_refs[1])
    refs, rejected = duplicates.separate(everything, config)
    given = [ref.split for ref in refs if ref.split]
    split = ""  # of a unit of which nothing is left
    if given:
        split = given[0]
    elif refs:
        split = balance.split_of(hashing.position(config.seed, "split", unit), cuts[unit_label(refs)])
    yield from (ref._replace(split=ref.split or split) for ref in refs)
    yield from (TaggedOutput("rejected", reject) for reject in rejected)
    for equal in duplicates.groups(ref._replace(split=ref.split or split) for ref in everything):
        yield TaggedOutput("duplicates", Duplicates(equal[0].digest, tuple((r.uri, r.label, r.split) for r in equal)))


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


class WriteShard(beam.DoFn):
    """((split, shard), [Item or None]) -> the shard's account; see `shards.write_shard`."""

    def __init__(self, config: PrepareConfig, work: Work):
        self._config, self._work = config, work

    def setup(self) -> None:
        self._workers = workers.shared(workers.usual_count(self._config.workers))

    def process(
        self, shard_to_items: tuple[tuple[str, int], Iterable[shards.Item | None]], the_plan: plan.Plan
    ) -> Iterator[str]:
        (split, index), items = shard_to_items
        file = shards.file_name(self._config.dataset_name, split, index, the_plan.shards[split])
        shards.write_shard(
            file,
            split,
            [item for item in items if item is not None],
            the_plan.labels,
            self._config,
            self._work,
            self._workers,
            picture=index == 0,  # shards are in hash order: the first holds a fair sample of its split
        )
        yield file


class FinishShard(beam.DoFn):
    """A staged shard's file -> its finished file's name, count, size and digest; see `shards.finish_shard`."""

    def __init__(self, config: PrepareConfig, work: Work, affine: shards.Affine | None):
        self._config, self._work, self._affine = config, work, affine

    def setup(self) -> None:
        self._workers = workers.shared(workers.usual_count(self._config.workers))

    def process(self, file: str) -> Iterator[dict[str, Any]]:
        account = shards.read_account(file, self._work)
        yield shards.finish_shard(account, self._affine, self._config, self._work, self._workers)


def staged_files(_: None, config: PrepareConfig, work: Work) -> list[str]:
    """The names of the shards that the plan demands."""
    return [file for files in plan.shard_names(tally.read_plan(work), config).values() for file in files]


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
