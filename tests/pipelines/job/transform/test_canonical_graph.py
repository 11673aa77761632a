"""Transform graphs get names that do not depend on the process and the folder that they were made in."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from pipelines.job.transform import canonical_graph


class Counted(tf.Module):
    """Looks up labels of a file, and has a loop, a condition and a captured number."""

    def __init__(self, labels):
        super().__init__()
        self.file = tf.saved_model.Asset(str(labels))
        lines = tf.lookup.TextFileInitializer(
            self.file.asset_path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )  # fmt: skip
        self.table = tf.lookup.StaticHashTable(lines, -1)
        self.table._shared_name = "a name"
        self.start = tf.constant(3)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def answer(self, label):
        count = self.start
        for _ in tf.range(4):
            count = tf.cond(count > 5, lambda count=count: count + 10, lambda count=count: count + 1)
        return self.table.lookup(label), count


def saved(folder, labels, before=0):
    """The SavedModel of Counted in a process that has made so many functions before."""
    for number in range(before):
        tf.function(lambda number=number: tf.constant(number)).get_concrete_function()
    file = folder / "labels"
    file.write_text("".join(f"{label}\n" for label in labels))
    tf.saved_model.save(Counted(file), str(folder / "graph"))
    return (folder / "graph/saved_model.pb").read_bytes()


def canonical(data, labels, folder):
    return canonical_graph.canonical(data, "".join(f"{label}\n" for label in labels).encode(), str(folder))


@pytest.fixture
def folders(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    return tmp_path / "one", tmp_path / "other"


@pytest.mark.slow
def test_what_the_process_did_before_leaves_no_trace(folders):
    one, other = saved(folders[0], "ab"), saved(folders[1], "ab", before=1500)
    assert one != other
    assert canonical(one, "ab", folders[0]) == canonical(other, "ab", folders[1])
    assert canonical(canonical(one, "ab", folders[0]), "ab", folders[0]) == canonical(one, "ab", folders[0])


def test_functions_are_numbered_in_their_order_and_tables_are_named_after_their_labels(folders):
    graph = saved_model_pb2.SavedModel.FromString(canonical(saved(folders[0], "ab"), "ab", folders[0]))
    definition = graph.meta_graphs[0].graph_def
    names = [function.signature.name for function in definition.library.function]
    assert sorted(int(name[-4:]) for name in names) == list(range(len(names)))
    assert names == sorted(names)
    tables = {node.attr["shared_name"].s for node in canonical_graph.all_nodes(definition) if node.op == "HashTableV2"}
    assert tables == {canonical_graph.table_name(b"a\nb\n")}
    assert canonical_graph.table_name(b"a\nb\n") != canonical_graph.table_name(b"a\nc\n")


def test_the_graph_answers_as_before_and_beside_one_of_other_labels(folders):
    loaded = []
    for folder, labels in zip(folders, ("ab", "cb"), strict=True):
        saved(folder, labels)
        path = folder / "graph/saved_model.pb"
        path.write_bytes(canonical(path.read_bytes(), labels, folder))
        loaded.append(tf.saved_model.load(str(folder / "graph")))
    answers = [[int(n) for n in graph.answer(tf.constant(label))] for graph in loaded for label in "abc"]
    assert answers == [[0, 16], [1, 16], [-1, 16], [-1, 16], [1, 16], [0, 16]]


def test_a_graph_that_names_its_folder_is_refused(tmp_path):
    class Named(tf.Module):
        @tf.function(input_signature=[])
        def where(self):
            return tf.constant(str(tmp_path))

    tf.saved_model.save(Named(), str(tmp_path / "graph"))
    data = pathlib.Path(tmp_path, "graph/saved_model.pb").read_bytes()
    with pytest.raises(ValueError, match="names the folder in which it was made"):
        canonical_graph.canonical(data, b"", str(tmp_path))
    assert canonical_graph.canonical(data, b"", "/elsewhere")


def test_a_name_without_a_number_is_refused(folders):
    graph = saved_model_pb2.SavedModel.FromString(saved(folders[0], "ab"))
    graph.meta_graphs[0].graph_def.library.function[0].signature.name = "own"
    with pytest.raises(ValueError, match="'own' has no number"):
        canonical_graph.canonical(graph.SerializeToString(), b"", str(folders[0]))
