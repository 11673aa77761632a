"""Folders whose names TensorFlow would take for patterns."""

from __future__ import annotations

import os

import pytest
import tensorflow as tf

from pipelines.core.files import wildcards


@pytest.mark.parametrize("name", ["a[1]", "b*", "c?", "d\\e"])
def test_a_graph_with_variables_loads_from_any_folder(tmp_path, name):
    module = tf.Module()
    module.v = tf.Variable([1.0, 2.0])
    module.f = tf.function(lambda: module.v + 1.0, input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "plain"))
    (tmp_path / "plain").rename(tmp_path / name)
    path = wildcards.hidden(str(tmp_path / name))
    assert not wildcards.are_in(path)
    assert os.path.samefile(path, tmp_path / name)
    assert path == wildcards.hidden(str(tmp_path / name))
    assert tf.saved_model.load(path).f().numpy().tolist() == [2.0, 3.0]


@pytest.mark.parametrize("path", ["data/out", "/data/it's {1}", "gs://bucket/a[1]"])
def test_other_folders_stay_as_they_are(path):
    assert wildcards.hidden(path) == path
    assert not wildcards.are_in(path)
