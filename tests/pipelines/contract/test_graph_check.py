"""A graph from a file is loaded only if all of it computes; nothing of a refused one is run."""

from __future__ import annotations

import os
import shutil

import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from pipelines import contract as contracts
from pipelines.contract import graph_check, graph_messages, graph_ops
from pipelines.core.errors import GraphError
from tests.support.datasets import write_dataset
from tests.support.files import hostile_graphs
from tests.support.files.hostile_graphs import Hostile, HostileTable, in_branch, in_function, in_while, write

KEPT = "tests/data/format_1"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "data"
    return path, write_dataset(path, splits={"test": (2, 2)})


@pytest.fixture
def dataset(data, tmp_path):
    """(directory, contract) of a whole dataset that a test may change."""
    shutil.copytree(data[0], tmp_path / "data")
    return tmp_path / "data", data[1]


def refuse(directory, match):
    with pytest.raises(GraphError, match=match) as e:
        contracts.load_transform(directory)
    assert "saved_model.pb" in str(e.value) or "transform_fn" in str(e.value)
    return str(e.value)


@pytest.mark.parametrize("hide", [lambda act: act, in_function, in_while, in_branch])
def test_a_file_is_not_written_wherever_the_operation_is_hidden(dataset, tmp_path, hide):
    marker = tmp_path / "written"
    hostile_graphs.put(*dataset, Hostile(dataset[1], hide(write(marker))))
    assert "the operation 'WriteFile' in node" in refuse(dataset[0], "Prepare the dataset or export")
    assert not marker.exists()


def test_a_table_that_acts_while_the_graph_is_loaded(dataset, tmp_path):
    marker = tmp_path / "written"
    hostile_graphs.put(*dataset, HostileTable(dataset[1], write(marker)))
    refuse(dataset[0], "the operation 'WriteFile' in node .* of function '__inference__initializer")
    assert not marker.exists()
    tf.saved_model.load(str(dataset[0] / contracts.TRANSFORM_DIR))
    assert marker.exists()  # so the refusal is what kept it from being written


def _print():
    tf.print("seen")
    return tf.constant("")


def _save():
    save = tf.raw_ops.SaveV2(prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1)])
    with tf.control_dependencies([save]):
        return tf.constant("")


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda: tf.strings.substr(tf.io.read_file("/etc/hostname"), 0, 0), "ReadFile"),
        (lambda: tf.strings.reduce_join(tf.io.matching_files("/tmp/*")), "MatchingFiles"),
        (lambda: tf.py_function(lambda: tf.constant(""), [], tf.string), "EagerPyFunc"),
        (lambda: tf.numpy_function(lambda: b"", [], tf.string), "PyFunc"),
        (lambda: tf.data.TextLineDataset("/etc/hostname").reduce("", lambda a, b: a + b), r"\w+Dataset"),
        (lambda: tf.strings.as_string(tf.raw_ops.RestoreV2(
            prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.int32])[0]), "RestoreV2"),
        (_save, "SaveV2"),
        (_print, "PrintV2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_no_other_way_to_files_python_or_the_terminal(dataset, act, name):
    hostile_graphs.put(*dataset, Hostile(dataset[1], act))
    refuse(dataset[0], f"the operation '?{name}'? in node")


# -------------------- what the saver's functions may not be used for


def edit(directory, change):
    """Changes the parsed SavedModel of a dataset and makes its digests agree."""
    path = directory / contracts.TRANSFORM_DIR / "saved_model.pb"
    parsed = saved_model_pb2.SavedModel()
    parsed.ParseFromString(path.read_bytes())
    change(parsed.meta_graphs[0])
    path.write_bytes(parsed.SerializeToString())
    return hostile_graphs.seal(directory, contracts.load(directory))


def functions(meta):
    return {f.signature.name: f for f in meta.graph_def.library.function}


def _saver(meta):
    return next(name for name in functions(meta) if "traced_save" in name)


def _main(meta):
    """The function that `transform_fn` runs."""
    return next(f for name, f in functions(meta).items() if "_transform_" in name and "wrapper" not in name)


def _call(meta):
    node = _main(meta).node_def.add(name="extra", op="StatefulPartitionedCall")
    node.attr["f"].func.name = _saver(meta)


def _call_by_name(meta):
    _main(meta).node_def.add(name="extra", op=_saver(meta))


def _branch(meta):
    node = _main(meta).node_def.add(name="extra", op="Case")
    node.attr["branches"].list.func.add(name=_saver(meta))


def _string(meta):
    _main(meta).node_def.add(name="extra", op="NoOp").attr["_forward_function_name"].s = _saver(meta).encode()


def _object(meta):
    meta.object_graph_def.nodes.add().bare_concrete_function.concrete_function_name = _saver(meta)


def _concrete(meta):
    _ = meta.object_graph_def.concrete_functions[_saver(meta)]


def _gradient(meta):
    meta.graph_def.library.registered_gradients.add(gradient_func=_saver(meta), registered_op_type="x")


def _top(meta):
    meta.graph_def.node.add(name="extra", op="StatefulPartitionedCall").attr["f"].func.name = _saver(meta)


@pytest.mark.parametrize("use", [_call, _call_by_name, _branch, _string, _object, _concrete, _gradient, _top])
def test_nothing_but_the_saver_may_name_the_function_that_saves(dataset, use):
    contracts.load_transform(dataset[0])
    edit(dataset[0], use)
    refuse(dataset[0], "a second use of the function '__inference__traced_save")


def _nested(meta):
    node = _main(meta).node_def.add(name="extra", op="PartitionedCall")
    # The order of functions differs from process to process, and those that save and restore have rules of their own.
    others = (name for name in sorted(functions(meta)) if name != _main(meta).signature.name)
    inner = next(name for name in others if "traced_save" not in name and "traced_restore" not in name)
    node.attr["f"].func.name = inner
    node.attr["f"].func.attr["g"].func.name = "anything"


def _unknown(meta):
    _main(meta).node_def.add(name="extra", op="PartitionedCall").attr["f"].func.name = "of_this_process"


def _implements(meta):
    _main(meta).attr["api_implements"].s = b"x"


def _variant(meta):
    node = _main(meta).node_def.add(name="extra", op="Const")
    node.attr["value"].tensor.dtype = types_pb2.DT_VARIANT


def _large(meta):
    node = _main(meta).node_def.add(name="extra", op="Const")
    node.attr["value"].tensor.tensor_shape.dim.add(size=1 << 40)


def _custom(meta):
    _main(meta).node_def.add(name="extra", op="SomeoneElses>Op")


def _twin(meta):
    meta.graph_def.library.function.add().CopyFrom(_main(meta))


def _kind(meta):
    meta.object_graph_def.nodes.add().user_object.identifier = "optimizer"


def _class(meta):
    meta.object_graph_def.nodes.add(registered_name="Someone.Class").user_object.identifier = "_generic_user_object"


def _asset(meta):
    meta.asset_file_def.add(filename="../../../etc/passwd")


def _old(meta):
    meta.ClearField("object_graph_def")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_nested, "inside an attribute of a call"), (_unknown, "a function that is not in the file"),
        (_implements, "'api_implements'"), (_variant, "not a plain tensor"), (_large, "a very large one"),
        (_custom, "the operation 'SomeoneElses>Op'"), (_twin, "two functions of one name"),
        (_kind, "an object of the kind 'optimizer'"), (_class, "an object of the class 'Someone.Class'"),
        (_asset, r"the asset '\.\./\.\./\.\./etc/passwd'"), (_old, "the format of TensorFlow 2"),
    ],
)  # fmt: skip
def test_what_the_loader_would_look_up_elsewhere_is_refused(dataset, change, what):
    edit(dataset[0], change)
    refuse(dataset[0], what)


# -------------------- tables that read a file


def _of_file(filename):
    return tf.lookup.TextFileInitializer(filename, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                                         tf.lookup.TextFileIndex.LINE_NUMBER)  # fmt: skip


class Lookup(tf.Module):
    """Returns the line of a text in the file that its asset holds."""

    def __init__(self, filename):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(_of_file(filename), -1)
        self.f = tf.function(self.table.lookup, input_signature=[tf.TensorSpec((None,), tf.string)])


class Again(tf.Module):
    """Saves a loaded SavedModel once more, as an export does with the dataset's graph."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.f = tf.function(lambda x: inner.f(x), input_signature=[tf.TensorSpec((None,), tf.string)])


@pytest.fixture
def lookup(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    tf.saved_model.save(Lookup(str(tmp_path / "words")), str(tmp_path / "lookup"))
    return tmp_path / "lookup"


def test_a_table_of_an_asset_is_loaded_also_when_it_is_saved_again(lookup, tmp_path):
    loaded = graph_check.load(str(lookup), {})
    assert loaded.f(tf.constant(["b", "c"])).numpy().tolist() == [1, -1]
    tf.saved_model.save(Again(loaded), str(tmp_path / "again"))
    again = graph_check.load(str(tmp_path / "again"), {})
    assert again.f(tf.constant(["b", "c"])).numpy().tolist() == [1, -1]


class ByName(tf.Module):
    """Reads the file that its caller names, or a fixed one."""

    def __init__(self, fixed=""):
        super().__init__()
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1], tf.int64)), -1
        )

        def read(name):
            tf.raw_ops.InitializeTableFromTextFileV2(
                table_handle=self.table.resource_handle, filename=fixed or name, key_index=-2, value_index=-1
            )
            return self.table.size()

        self.f = tf.function(read, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("fixed", ["", "/etc/passwd"])
def test_a_table_of_another_file_is_refused(tmp_path, fixed):
    tf.saved_model.save(ByName(fixed), str(tmp_path / "m"))
    with pytest.raises(GraphError, match="a file that is not an asset of the SavedModel"):
        graph_check.load(str(tmp_path / "m"), {})


def test_an_object_that_only_looks_like_an_asset_is_refused(lookup):
    path = lookup / "saved_model.pb"
    parsed = saved_model_pb2.SavedModel()
    parsed.ParseFromString(path.read_bytes())
    meta = parsed.meta_graphs[0]
    asset = next(n for n in meta.object_graph_def.nodes if n.HasField("asset"))
    asset.registered_name = "tf.TrackableConstant"  # the loader takes the constant of the node named "" then
    node = meta.graph_def.node.add(name="", op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))
    path.write_bytes(parsed.SerializeToString())
    with pytest.raises(GraphError, match="a file that is not an asset of the SavedModel"):
        graph_check.load(str(lookup), {})


def test_an_asset_that_is_a_link_out_of_the_folder_is_refused(lookup, tmp_path):
    asset = lookup / "assets" / "words"
    asset.unlink()
    asset.symlink_to(tmp_path / "words")
    with pytest.raises(GraphError, match="a link out of it"):
        graph_check.load(str(lookup), {})
    asset.unlink()
    os.mkfifo(asset)
    with pytest.raises(GraphError, match="a special file"):
        graph_check.load(str(lookup), {})


def test_a_folder_whose_name_begins_like_the_models_is_outside(lookup, tmp_path):
    other = lookup.with_name(f"{lookup.name}-secret")
    other.mkdir()
    (other / "words").write_text("secret\n")
    asset = lookup / "assets" / "words"
    asset.unlink()
    asset.symlink_to(other / "words")
    with pytest.raises(GraphError, match="a link out of it"):
        graph_check.load(str(lookup), {})


# -------------------- digests and real graphs


def test_a_graph_that_is_not_the_contracts_is_not_loaded(dataset):
    path = dataset[0] / contracts.TRANSFORM_DIR / "saved_model.pb"
    path.write_bytes(path.read_bytes() + b"\0")
    refuse(dataset[0], "should have the SHA-256 .* changed or damaged")


def test_every_file_of_the_graph_that_the_contract_names_is_compared(tmp_path):
    shutil.copytree(f"{KEPT}/uint8", tmp_path / "d")
    contracts.load_transform(tmp_path / "d")
    (tmp_path / "d" / "transform_fn" / "assets" / "labels").write_text("sound\ncracked\n")
    refuse(tmp_path / "d", "assets/labels should have the SHA-256")


def test_bytes_that_are_no_graph():
    for content in (b"", b"\xff" * 9, b"no graph at all"):
        with pytest.raises(GraphError, match="prepare or export again"):
            graph_check.check(content, "x.pb")


def test_a_text_graph_is_not_loaded_in_the_place_of_the_checked_one(dataset):
    folder = dataset[0] / contracts.TRANSFORM_DIR
    (folder / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    contracts.load_transform(dataset[0])  # TensorFlow reads the .pb where there is one
    (folder / "saved_model.pb").unlink()
    with pytest.raises(FileNotFoundError):
        contracts.load_transform(dataset[0])


def _operations(graph):
    yield from (node.op for node in graph.node)
    for function in graph.library.function:
        yield from (node.op for node in function.node_def)


def _preparing(config):
    """The graph from encoded images to what a reader of the records gets."""
    from pipelines.job.transform import preprocessing

    spec = config.image_spec

    def images(encoded):
        pixels = tf.map_fn(
            preprocessing._of_record(config.record_spec) if spec.is_uneven else preprocessing._to_pixels(spec),
            encoded,
            fn_output_signature=tf.TensorSpec((spec.height, spec.width, 3), tf.uint8),
        )
        return preprocessing.as_stored(pixels, tf.ones(3), tf.zeros(3), config.record_spec)

    made = tf.function(images, input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False)
    return made.get_concrete_function().graph.as_graph_def()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resize", "filter_"),
    # Modes and filters are of different operations: each of both, but not each mode with each filter.
    [(mode, contracts.FILTERS[0]) for mode in contracts.RESIZE_MODES]
    + [(contracts.RESIZE_MODES[0], name) for name in contracts.FILTERS[1:]],
)
def test_every_operation_that_preparing_writes_is_on_the_list(resize, filter_):
    from pipelines.config import PrepareConfig
    from pipelines.config.pixel_options import QUALITIES

    forms = [("float16", QUALITIES[0])] if resize != "shorter" else []  # images of unequal size are JPEG
    for encoding, quality in (*forms, ("jpeg", QUALITIES[-1])):
        size = (8, 6) if resize != "shorter" else (8, 8)
        config = PrepareConfig(
            input="i", output="o", size=size, encoding=encoding, resize=resize, filter=filter_, quality=quality
        )
        graph = _preparing(config)
        found = set(_operations(graph))
        assert "DecodeJpeg" in found
        assert found - graph_ops.ALLOWED <= {function.signature.name for function in graph.library.function}


def test_every_operation_on_the_list_exists_and_none_touches_files():
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    listed = op_def_pb2.OpList()
    listed.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    known = {op.name: op for op in listed.op}
    assert set(known) >= graph_ops.ALLOWED
    for name in sorted(graph_ops.ALLOWED):
        for part in ("File", "Dataset", "Py", "Print", "Send", "Recv", "Save", "Restore", "Summary", "Debug", "Rpc"):
            assert part not in name
        arguments = {a.name for a in known[name].input_arg} | {a.name for a in known[name].attr}
        assert not {a for a in arguments if "file" in a or "path" in a or "url" in a}, name


def test_the_fields_are_those_of_tensorflow():
    seen = set()

    def compare(own, theirs):
        if own.full_name in seen:
            return
        seen.add(own.full_name)
        for field in own.fields:
            other = theirs.fields_by_number.get(field.number)
            if field.name == "unread":
                assert other is None
                continue
            enum = field.type == field.TYPE_INT32 and other.type == other.TYPE_ENUM
            assert (field.name, field.is_repeated) == (other.name, other.is_repeated), field.full_name
            assert field.type == other.type or enum, field.full_name
            if field.containing_oneof:
                assert {f.number for f in field.containing_oneof.fields} == {
                    f.number for f in other.containing_oneof.fields
                }
            if field.message_type and field.message_type.name != "Other":
                compare(field.message_type, other.message_type)

    compare(graph_messages.saved_model().DESCRIPTOR, saved_model_pb2.SavedModel.DESCRIPTOR)
    assert len(seen) > 30
