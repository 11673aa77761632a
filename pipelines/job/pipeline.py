"""Builds the Beam graph of `prepare` from top to bottom.

The graph shuffles references to images and never pixels: see docs/design.md. Every stage is a thin wrapper around a
pure function of another module. A comment at each stage names the element type. The graph has up to four jobs:

`measure` runs first, and only if the range of deep pixels is to be found from the images.
`write` reads the images and writes the shards.
`analyze` is the job of TensorFlow Transform. It reads one row for each shard. It runs in a process of its own, which
loads its modules and builds the job while `write` decodes images.
`normalize` runs last, and only if the records hold floats.
"""

from __future__ import annotations

import dataclasses
import functools

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsSingleton

from pipelines.config import PrepareConfig
from pipelines.contract import Contract
from pipelines.core.elements import Affine
from pipelines.dataset import earlier_dataset
from pipelines.inputs import listing
from pipelines.inputs.rules import InputSpec
from pipelines.job import fold_units, split_units, stages
from pipelines.job import unlabelled as without_label
from pipelines.plan import duplicates, splits
from pipelines.plan.folds import Division
from pipelines.records.shard_writer import FLOATS
from pipelines.tasks.kind import Kind
from pipelines.tasks.kinds import KINDS
from pipelines.work_dir import Work
from pipelines.workers import pool


def write(
    pipeline: beam.Pipeline, config: PrepareConfig, spec: InputSpec, work: Work, old: Contract | None = None
) -> None:
    """Builds the job that reads the inputs and writes staged shards.

    If the encoding stores no floats, the job also finishes the shards.

    Args:
      spec: how the input is listed; see `listing.check`.
      old: the contract of the dataset of --like.
    """
    start_workers, seed = functools.partial(pool.decoders, config.workers, config.input), config.seed
    kind = KINDS[config.task]
    listed = _list(pipeline, config.input, spec)
    total = _count_listed(listed, work)
    fingerprint = stages.Fingerprint(start_workers, config.limits, config.source_policy, bool(config.group_similar))
    read = (
        listed.batches  # (number, packed Sources), at most BATCH
        | "SpreadBatches" >> beam.Reshuffle()
        | "Fingerprint" >> beam.ParDo(fingerprint, total).with_outputs("rejected", main="refs")
    )
    by_content = (
        read.refs | "GroupEqual" >> beam.GroupByKey() if old is None else _like(read.refs, config, old, total, work)
    )
    unlabelled = None
    if spec.unlabelled:
        unlabelled = by_content | "SeparateUnlabelled" >> beam.FlatMap(
            without_label.separate, config.duplicates, kind
        ).with_outputs("unlabelled", "twins", "duplicates", "rejected", main="labelled")
        by_content = unlabelled.labelled
    # (bucket, [packed (unit, Ref)]): a unit stays together
    in_units = _form_units(by_content, listing.has_groups(spec), config.group_similar, total)
    edges = _edges(in_units, kind)
    cuts = _cuts(in_units, config, kind, edges, old is not None)
    assigned = in_units | "AssignSplit" >> beam.FlatMap(
        split_units.assign_split, config.duplicates, seed, AsDict(cuts), config.group_similar, kind, edges
    ).with_outputs("duplicates", "similar", "straddling", "rejected", main="refs")  # packed Refs with their split
    refs, rejected = assigned.refs, [listed.rejected, read.rejected, assigned.rejected]
    equal = assigned.duplicates
    if unlabelled is not None:
        refs = (_for_flatten(refs, "LabelledRefs"), unlabelled.unlabelled) | "WithUnlabelled" >> beam.Flatten()
        equal = (equal, unlabelled.duplicates) | "AllEqual" >> beam.Flatten()
        rejected.append(unlabelled.rejected)
        _note_counterparts(assigned.refs, unlabelled, config.group_similar, work)
    if config.duplicates == "fail":
        (equal | "CountEqual" >> beam.CombineGlobally(duplicates.First()) | "Refuse" >> beam.Map(duplicates.refuse))
    the_plan = _plan(
        refs, _label_counts(assigned.refs, kind), config, work, earlier_dataset.first_classes(config.classes, old)
    )
    items = refs | "AssignShard" >> beam.FlatMap(stages.assign_shard, seed, the_plan).with_outputs(
        "unused", main="items"
    )  # ((split, shard), packed Items)
    record_spec = dataclasses.replace(config.record_spec, metadata=spec.metadata)
    write_shard = stages.WriteShard(
        start_workers, config.dataset_name, record_spec, config.thumbnails, config.digest(), work
    )
    staged = _stage(items.items, the_plan, write_shard)  # the shard's file name
    if config.encoding not in FLOATS:
        staged | "FinishShard" >> beam.ParDo(stages.FinishShard(start_workers, None, config.encoding, work))
    _write_lines(work, "rejects", rejected | "AllRejected" >> beam.Flatten())
    _write_lines(work, "duplicates", equal)
    _write_lines(work, "similar", assigned.similar)
    _write_lines(work, "unused", items.unused)
    _write_lines(work, "straddling", assigned.straddling)


def _list(pipeline: beam.Pipeline, path: str, spec: InputSpec) -> beam.DoOutputsTuple:
    """Adds the stages that list the inputs.

    The outputs are `batches` of (number, packed Sources), and `rejected`.
    """
    return (
        pipeline
        | "Input" >> beam.Create([path])
        | "ListImages" >> beam.FlatMap(stages.list_batches, spec).with_outputs("rejected", main="batches")
    )


def _note_counterparts(labelled: beam.PCollection, unlabelled: beam.DoOutputsTuple, bits: int, work: Work) -> None:
    """Adds the stages that note labelled images with an unlabelled counterpart.

    It is equal, or looks alike.

    Args:
      labelled: packed Refs with their split. bits: as of --group-similar.
    """
    _write_lines(work, "twins", without_label.find_twins(labelled, unlabelled.twins))
    if bits:
        _write_lines(work, "alike", without_label.find_alike(labelled, unlabelled.unlabelled, bits))


def _stage(items: beam.PCollection, the_plan: AsSingleton, write_shard: stages.WriteShard) -> beam.PCollection:
    """Adds the stages that write the staged shards, also those without records.

    Args:
      items: ((split, shard), packed Items).
    """
    every_shard = (
        items.pipeline | "Start" >> beam.Create([None]) | "EveryShard" >> beam.FlatMap(stages.every_shard_key, the_plan)
    )
    return (
        (items, every_shard)
        | "WithEmptyShards" >> beam.Flatten()
        | "ShardToItems" >> beam.GroupByKey()  # ((split, shard), [packed Items])
        | "WriteShard" >> beam.ParDo(write_shard, the_plan)  # the shard's file name
    )


def _cuts(
    in_units: beam.PCollection, config: PrepareConfig, kind: Kind, edges: AsSingleton, continues: bool
) -> beam.PCollection:
    """Returns where the ranks of the units are cut into splits and folds.

    Args:
      in_units: (bucket, [packed (unit, Ref)]). edges: as `_edges` returns them. continues: whether --like is given.
    """
    unit_ranks = (
        in_units
        | "UnitRanks" >> beam.FlatMap(split_units.unit_ranks, config.duplicates, config.seed, kind, edges)
        | "RankUnits" >> beam.CombinePerKey(stages.MergeRanks())  # ((stated split, label), RankHistogram)
    )
    # What is carried from class to class needs all of them in one place: profiles are small, histograms are not.
    profiles = (
        unit_ranks
        | "Profiles" >> beam.MapTuple(lambda key, ranks: (key, splits.profile_of(ranks)))
        | "GatherProfiles" >> beam.combiners.ToDict()
    )
    if kind.is_one_class:
        carry = beam.Map(split_units.carries, config.shares, config.validation_from, continues)
    else:
        carry = beam.Map(split_units.stratified, config.shares, config.validation_from)
    carries = AsSingleton(profiles | "CarryRounding" >> carry)
    cuts = unit_ranks | "CutSplits" >> beam.FlatMap(split_units.cuts, carries)
    if not config.division:
        return cuts
    found = _fold_cuts(in_units, config, config.division, AsDict(cuts), edges)
    return (_for_flatten(cuts, "SplitCuts"), found) | "WithFoldCuts" >> beam.Flatten()


def _plan(
    refs: beam.PCollection, counts: AsSingleton, config: PrepareConfig, work: Work, first: tuple[str, ...]
) -> AsSingleton:
    """Returns the Plan: how often each image is written, and into how many shards.

    Args:
      refs: packed Refs with their split. counts: as `_label_counts` returns them. first: the classes that come first.
    """
    kind = KINDS[config.task]
    ranks = (  # ((split, stratum), RankHistogram)
        refs
        | "ImageRanks" >> beam.FlatMap(stages.image_ranks, config.seed, kind, counts)
        | "RankImages" >> beam.CombinePerKey(stages.MergeRanks())
    )
    targets = AsSingleton(
        ranks
        | "Totals" >> beam.MapTuple(lambda key, histogram: (key, histogram.total))
        | "GatherTotals" >> beam.combiners.ToDict()
        | "Targets" >> beam.Map(stages.targets, config.class_balance, kind, counts)  # {stratum: records in train}
    )
    return AsSingleton(  # Plan
        ranks
        | "ShareOut" >> beam.Map(stages.share_of, config.max_copies, targets)  # ((split, stratum), Share)
        | "GatherShares" >> beam.combiners.ToDict()
        | "PlanBalance" >> beam.Map(stages.make_plan, config.balance, config.sharding, first, work, kind, counts)
    )


def _for_flatten(elements: beam.PCollection, name: str) -> beam.PCollection:
    """Returns elements that other stages read, too, so that a Flatten can read them.

    The job servers of Flink and Spark merge a Flatten into the stages before it, but not behind elements that a stage
    with side inputs reads as well, or that are a side input. With both kinds before one Flatten they refuse the
    pipeline ("should have exactly one producing PTransformNode"). A stage that does nothing makes them alike.
    """
    return elements | name >> beam.Map(lambda element: element)


def measure(pipeline: beam.Pipeline, config: PrepareConfig, spec: InputSpec, work: Work) -> None:
    """Builds the job that finds the range of the values of deep pixels.

    It writes [[low, high]] of all images to work_dir.VALUE_RANGE, or [] if no image has more than 8 bits.
    """
    start_workers = functools.partial(pool.decoders, config.workers, config.input)
    listed = _list(pipeline, config.input, spec)
    (
        listed.batches  # (number, packed Sources), at most BATCH
        | "SpreadBatches" >> beam.Reshuffle()
        | "Measure" >> beam.ParDo(stages.Measure(start_workers, config.limits, config.source_policy))  # (low, high)
        | "WidestRange" >> beam.CombineGlobally(stages.Widest())
        | "NoteRange" >> beam.Map(stages.note_range, work)
    )


def normalize(pipeline: beam.Pipeline, config: PrepareConfig, work: Work, affine: Affine) -> None:
    """Builds the job that turns staged 8-bit shards into normalized float shards."""
    start_workers = functools.partial(pool.decoders, config.workers, config.input)
    (
        pipeline
        | "Start" >> beam.Create([None])
        | "StagedFiles" >> beam.FlatMap(stages.staged_files, config.dataset_name, work)  # file name
        | "SpreadFiles" >> beam.Reshuffle()
        | "FinishShard" >> beam.ParDo(stages.FinishShard(start_workers, affine, config.encoding, work))
    )


def _count_listed(listed: beam.DoOutputsTuple, work: Work) -> AsSingleton:
    """Adds the stages that count the listed inputs and save the count.

    `accounting.summarize` compares this count with the number of inputs that were written, left out or rejected.
    """
    return AsSingleton(
        (
            listed.batches | "Sizes" >> beam.MapTuple(lambda number, _: number),
            listed.rejected | "One" >> beam.Map(lambda _: 1),
        )
        | "AllListed" >> beam.Flatten()
        | "CountListed" >> beam.CombineGlobally(sum)
        | "NoteListed" >> beam.Map(stages.note_listed, work)
    )


def _like(
    refs: beam.PCollection, config: PrepareConfig, old: Contract, total: AsSingleton, work: Work
) -> beam.PCollection:
    """Adds the stages that keep the splits of an earlier dataset.

    The elements are (bucket, [packed (digest, Ref)]), as of "GroupEqual" without --like.
    """
    earlier = (
        refs.pipeline
        | "EarlierShards" >> beam.Create(earlier_dataset.parts(old))  # (split, shard)
        | "SpreadShards" >> beam.Reshuffle()
        | "EarlierImages" >> beam.FlatMap(stages.earlier_images, config.like, total)
    )
    kept = (
        (refs, earlier)
        | "WithEarlier" >> beam.Flatten()
        | "GroupEqual" >> beam.GroupByKey()
        | "KeepSplits" >> beam.FlatMap(split_units.keep_splits, KINDS[config.task]).with_outputs("like", main="kept")
    )
    _write_lines(work, "like", kept.like)
    return kept.kept


def _form_units(by_content: beam.PCollection, has_groups: bool, bits: int, total: AsSingleton) -> beam.PCollection:
    """Adds the stages that group references into units.

    The elements are (bucket, [packed (unit, Ref)]), and a unit is always complete in one bucket. Images of equal
    content are one unit. If a manifest names groups, all groups that equal content connects are one unit. With
    --group-similar, so are all that images which look alike connect.
    """
    if not (has_groups or bits):
        return by_content
    # Only content that connects groups is gathered in one place. It is rare: equal files in two groups.
    bridges = by_content | "FindBridges" >> beam.FlatMap(split_units.bridges)  # [group, ...]
    looks = by_content | "Looks" >> beam.FlatMap(split_units.looks)  # [(perceptual hash, group), ...]
    gathered = AsSingleton(looks | "GatherLooks" >> beam.combiners.ToList())
    merged = AsSingleton(
        bridges | "GatherBridges" >> beam.combiners.ToList() | "Merge" >> beam.Map(split_units.merged, gathered, bits)
    )
    return (
        by_content
        | "KeyByGroup" >> beam.FlatMap(split_units.by_group, merged, total)
        | "GroupUnits" >> beam.GroupByKey()
    )


def _edges(in_units: beam.PCollection, kind: Kind) -> AsSingleton:
    """Adds the stages that divide the numbers of images into quantiles.

    The result is `Edges`, which are empty if images have no numbers.
    """
    if not kind.has_numbers:
        return AsSingleton(in_units.pipeline | "NoEdges" >> beam.Create([()]))
    return AsSingleton(
        in_units
        | "ValueRanks" >> beam.FlatMap(split_units.value_ranks, kind)
        | "RankValues" >> beam.CombinePerKey(stages.MergeRanks())  # (target, RankHistogram)
        | "GatherValues" >> beam.combiners.ToDict()
        | "Quantiles" >> beam.Map(split_units.edges_of)
    )


def _fold_cuts(
    in_units: beam.PCollection, config: PrepareConfig, division: Division, cuts: AsDict, edges: AsSingleton
) -> beam.PCollection:
    """Adds the stages that divide the units of train into folds.

    The elements are (`folds.key`, cuts).
    """
    kind = KINDS[config.task]
    ranked = beam.FlatMap(
        fold_units.fold_ranks, config.duplicates, config.seed, cuts, division.repeats, kind, edges
    )  # fmt: skip
    fold_ranks = in_units | "FoldRanks" >> ranked | "RankFolds" >> beam.CombinePerKey(stages.MergeRanks())
    shares = AsSingleton(
        fold_ranks
        | "FoldProfiles" >> beam.MapTuple(lambda key, ranks: (key, splits.profile_of(ranks)))
        | "GatherFolds" >> beam.combiners.ToDict()
        | "ShareFolds" >> beam.Map(fold_units.fold_shares, division, kind.is_one_class)
    )
    return fold_ranks | "CutFolds" >> beam.FlatMap(split_units.cuts, shares)


def _label_counts(refs: beam.PCollection, kind: Kind) -> AsSingleton:
    """Adds the stages that count the images of each label, if these can have several.

    The result is {(split, label): images}.
    """
    if kind.is_one_class:
        return AsSingleton(refs.pipeline | "NoCounts" >> beam.Create([{}]))
    return AsSingleton(
        refs
        | "LabelCounts" >> beam.FlatMap(stages.label_counts, kind)
        | "SumCounts" >> beam.CombinePerKey(sum)
        | "GatherCounts" >> beam.combiners.ToDict()
    )


def _write_lines(work: Work, name: str, elements: beam.PCollection) -> None:
    (
        elements
        | f"{name}ToLines" >> beam.ParDo(stages.PackLines())  # (file number, packed lines)
        | f"{name}ByFile" >> beam.GroupByKey()
        | f"Write_{name}" >> beam.Map(stages.write_lines, work.path(name))
    )
