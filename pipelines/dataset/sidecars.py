"""Makes the files next to the shards that let other tools read the dataset.

They are TFDS's files, and tensorflow-metadata's schema and statistics. The formats are those that tensorflow-datasets
4.9 itself writes; tests read the files back with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.contract import RAW_DTYPES, Contract
from pipelines.contract.contract import BANDS
from pipelines.contract.metadata import FLOAT, INTEGER, TEXT, MetadataColumn
from pipelines.contract.task import NO_LABEL_ID
from pipelines.core.summary import Summary

if TYPE_CHECKING:  # imported where they are used: `verify` needs only `tfds_files`, so the base install suffices
    from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

_TFDS = "tensorflow_datasets.core.features."
_SCHEMA_TYPES = {INTEGER: "INT", FLOAT: "FLOAT", TEXT: "BYTES"}


def tfds_files(contract: Contract) -> dict[str, str]:
    """Returns the files that `tfds.builder_from_directory` reads.

    Returns:
      File name -> text.
    """
    names = "".join(f"{label}\n" for label in contract.labels)
    return {
        "dataset_info.json": _json(_dataset_info(contract)),
        "features.json": _json(_features(contract)),
        **({f"{_answer(contract)}.labels.txt": names} if names else {}),
    }


def _answer(contract: Contract) -> str:
    """Returns the name of the feature that a model learns."""
    return "target" if contract.target_width else "label"


def statistics(contract: Contract, summary: Summary, split: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the feature statistics of one split.

    They have label counts, and gray levels of the split's original images.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    stored = contract.split(split).stored
    result = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = result.datasets.add(name=split, num_examples=contract.split(split).records)
    label = dataset.features.add(name=_answer(contract), type=statistics_pb2.FeatureNameStatistics.STRING)
    if split in contract.splits:
        label.string_stats.common_stats.num_non_missing = dataset.num_examples
    else:
        label.string_stats.common_stats.num_missing = dataset.num_examples
    label.string_stats.unique = sum(count > 0 for count in stored.values())
    for rank, (name, count) in enumerate(sorted(stored.items(), key=lambda item: (-item[1], item[0]))):
        label.string_stats.top_values.add(value=name, frequency=count)
        label.string_stats.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=name, sample_count=count)
    names = contract.channel_order if contract.channel_order != BANDS else contract.channel_names
    for channel, levels in zip(names, summary.pixel_histogram.get(split, []), strict=False):
        _numeric(dataset, f"pixel_{channel}".replace(" ", "_"), dict(enumerate(levels)))
    return result


def schema(contract: Contract) -> schema_pb2.Schema:
    """Returns the schema of the records, as `tf.io.parse_example` finds them."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    result = schema_pb2.Schema()
    width = contract.target_width
    answer = {"target": "FLOAT"} if width else {"label": "INT"}
    kept = {column.feature: _SCHEMA_TYPES[column.dtype] for column in contract.metadata}
    kinds = {"image": "BYTES", "key": "BYTES", **answer, **kept, "weight": "FLOAT"}
    for name, kind in kinds.items():
        feature = result.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.presence.min_fraction = 1.0
        feature.shape.SetInParent()
    label = next(f for f in result.feature if f.name in ("label", "target"))
    if width:
        label.shape.dim.add(size=width)
        return result
    least = 0 if contract.unlabelled is None else NO_LABEL_ID
    label.int_domain.min, label.int_domain.max, label.int_domain.is_categorical = least, len(contract.labels) - 1, True
    return result


def _numeric(dataset: statistics_pb2.DatasetFeatureStatistics, name: str, counts: Mapping[int, int]) -> None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    total = sum(counts.values())
    if not total:
        return
    feature = dataset.features.add(name=name, type=statistics_pb2.FeatureNameStatistics.INT)
    stats = feature.num_stats
    present = [value for value, count in counts.items() if count]
    stats.common_stats.num_non_missing = total
    stats.mean = sum(v * c for v, c in counts.items()) / total
    stats.std_dev = (sum(c * (v - stats.mean) ** 2 for v, c in counts.items()) / total) ** 0.5
    stats.min, stats.max, stats.num_zeros = min(present), max(present), counts.get(0, 0)
    bars = stats.histograms.add()
    for value, count in sorted(counts.items()):
        bars.buckets.add(low_value=value, high_value=value + 1, sample_count=count)


def _json(value: Any) -> str:
    return json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False) + "\n"


def _dataset_info(contract: Contract) -> dict[str, Any]:
    splits = [
        {
            "name": name,
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "numBytes": str(sum(shard.bytes for shard in split.shards)),
            "shardLengths": [str(shard.records) for shard in split.shards],
        }
        for name, split in contract.all_splits.items()
    ]
    return {
        "description": "Prepared by Shardmill; contract.json says how.",
        "fileFormat": "tfrecord",
        "moduleName": "shardmill",
        "name": contract.name,
        "splits": splits,
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": _answer(contract)}]}},
        "version": "1.0.0",
    }


def _features(contract: Contract) -> dict[str, Any]:
    height, width, channels = contract.image_shape
    sides = (-1, -1) if contract.is_uneven else (height, width)  # -1: any length
    shape = {"dimensions": [str(n) for n in (*sides, channels)]}
    if contract.encoding in RAW_DTYPES:
        image = _tensor(RAW_DTYPES[contract.encoding], "bytes", shape)
    else:
        image = {
            "pythonClassName": _TFDS + "image_feature.Image",
            "image": {"dtype": "uint8", "encodingFormat": contract.encoding, "shape": shape},
        }
    label = {
        "pythonClassName": _TFDS + "class_label_feature.ClassLabel",
        "classLabel": {"numClasses": str(len(contract.labels))},
    }
    width = contract.target_width
    features = {
        "image": image,
        "key": {"pythonClassName": _TFDS + "text_feature.Text", "text": {}},
        _answer(contract): _tensor("float32", "none", {"dimensions": [str(width)]}) if width else label,
        "weight": _tensor("float32", "none", {}),
    }
    if contract.metadata:  # TFDS joins the names of nested features with a slash, as our records have them
        features["metadata"] = _dict({column.name: _kept(column) for column in contract.metadata})
    return _dict(features)


def _dict(features: Mapping[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": _TFDS + "features_dict.FeaturesDict", "featuresDict": {"features": dict(features)}}


def _kept(column: MetadataColumn) -> dict[str, Any]:
    """Returns the feature of a column that travels along."""
    if column.dtype == TEXT:
        return {"pythonClassName": _TFDS + "text_feature.Text", "text": {}}
    return _tensor(column.dtype, "none", {})


def _tensor(dtype: str, encoding: str, shape: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "pythonClassName": _TFDS + "tensor_feature.Tensor",
        "tensor": {"dtype": dtype, "encoding": encoding, "shape": dict(shape)},
    }
