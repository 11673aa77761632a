"""A kept graph gets the numbers of another run, and is then what TensorFlow Transform writes."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import zipfile

import pytest
import tensorflow as tf

from pipelines.config import PrepareConfig
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.job import prepare
from pipelines.job.transform import kept_graphs
from pipelines.job.transform.analysis import Analysis
from pipelines.job.transform.analysis_rows import Totals, totals
from pipelines.records.record_spec import RecordSpec
from pipelines.work_dir import Work
from tests.support.files.images import draw_photo

RANDOM = "transform_fn/fingerprint.pb"  # TensorFlow draws a number for each file that it saves
PIXELS = {"pixel_count": [4], "pixel_sum": [40, 400, 40], "pixel_square_sum": [600, 60000, 700]}
OTHERS = {"pixel_count": [2], "pixel_sum": [20, 20, 20], "pixel_square_sum": [0, 1, 2]}


class Saved(tf.Module):
    """Holds totals as constants, as a transform graph does."""

    def __init__(self, columns):
        super().__init__()
        self.constants = [tf.constant(values, tf.int64) for values in columns.values()]

    @tf.function(input_signature=[])
    def held(self):
        return [tf.identity(constant) for constant in self.constants]


@pytest.fixture
def analysis(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = RecordSpec(ImageSpec(8, 8), Limits(), "uint8", 95, {}, 0)
    return Analysis("x", spec, "zscore", Work(str(tmp_path / "work"), "run"), str(tmp_path / "work"))


@pytest.fixture
def keep(analysis, monkeypatch):
    """Returns a function that keeps a graph with these columns, and returns its file."""

    def kept(columns=PIXELS):
        monkeypatch.setattr(kept_graphs, "totals", lambda _: Totals((), columns))
        tf.saved_model.save(Saved(columns), os.path.join(analysis.folder, "transform/transform_fn"))
        kept_graphs.keep(analysis, kept_graphs.numbers(analysis, Totals((), columns)))
        shutil.rmtree(analysis.folder)
        found = list(pathlib.Path(os.environ["XDG_CACHE_HOME"]).rglob("*.zip"))
        return found[0] if found else None

    return kept


def test_totals_are_sums_and_ranges():
    rows = [
        {"label": b"cat", "label_rank": [2], "pixel_sum": [0, 0], "target_least": [5.0], "target_bits": [40]},
        {"label": b"ant", "label_rank": [1], "pixel_sum": [0, 0], "target_least": [2.0], "target_bits": [40]},
        {"label": b"cat", "label_rank": [0], "pixel_sum": [3, 4], "target_least": [3.0], "target_bits": [40]},
        {"label": b"cat", "label_rank": [0], "pixel_sum": [5, 6], "target_least": [3.0], "target_bits": [40]},
    ]
    found = totals(rows, ["pixel_sum", "target_least", "target_bits"])
    assert found == (("cat", "ant"), {"pixel_sum": [8, 10], "target_least": [2.0], "target_bits": [40]})


def test_a_kept_graph_gets_other_numbers(analysis, keep, monkeypatch):
    keep()
    assert kept_graphs.is_kept(analysis)
    monkeypatch.setattr(kept_graphs, "totals", lambda _: Totals((), OTHERS))
    (scale, offset), targets = kept_graphs.fill(analysis)
    # means 10; the squares are below the squared mean, so that the deviation is taken as 1
    assert (scale, offset, targets) == ((1.0,) * 3, (-10.0,) * 3, {})
    graph = tf.saved_model.load(os.path.join(analysis.folder, "transform/transform_fn"))
    assert [values.numpy().tolist() for values in graph.held()] == list(OTHERS.values())


def test_another_policy_has_no_graph(analysis, keep):
    keep()
    other = Analysis("x", analysis.spec, "unit", analysis.work, analysis.folder)
    assert not kept_graphs.is_kept(other)
    assert kept_graphs.fill(other) is None
    assert not os.path.exists(analysis.folder)


def test_labels_that_transform_leaves_out_have_no_graph_and_the_kept_one_stays(analysis, keep, monkeypatch):
    keep()
    monkeypatch.setattr(kept_graphs, "totals", lambda _: Totals(("two\nlines",), OTHERS))
    assert kept_graphs.fill(analysis) is None
    assert kept_graphs.is_kept(analysis)


def test_equal_totals_have_no_certain_place(keep):
    assert keep({**PIXELS, "pixel_square_sum": PIXELS["pixel_sum"]}) is None


def test_numbers_that_the_graph_does_not_compute_are_not_kept(analysis, monkeypatch):
    monkeypatch.setattr(kept_graphs, "totals", lambda _: Totals((), PIXELS))
    (scale, _), targets = kept_graphs.numbers(analysis, Totals((), PIXELS))
    kept_graphs.keep(analysis, ((scale, (0.0, 0.0, 0.0)), targets))
    assert not os.path.exists(os.environ["XDG_CACHE_HOME"])


def _cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def _change_a_number(path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(content["about.json"])
    about["columns"]["pixel_sum"] = [1, 2, 3]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**content, "about.json": json.dumps(about).encode()}.items():
            archive.writestr(name, data)


def _change_the_key(path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(content["about.json"])
    about["key"]["versions"]["tensorflow"] = "1.0"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**content, "about.json": json.dumps(about).encode()}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _change_a_number,
        _change_the_key,
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o666),
    ],
)
def test_a_damaged_or_foreign_file_is_not_used(analysis, keep, monkeypatch, damage):
    path = keep()
    damage(path)
    monkeypatch.setattr(kept_graphs, "totals", lambda _: Totals((), OTHERS))
    assert kept_graphs.fill(analysis) is None
    assert not path.exists()
    assert not os.path.exists(analysis.folder)


def test_a_cache_that_cannot_be_written_is_no_error(keep, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert keep() is None


@pytest.mark.parametrize("problem", [PermissionError(13, "Permission denied"), OSError(36, "File name too long")])
def test_a_cache_that_may_not_be_entered_is_no_error(analysis, keep, monkeypatch, problem):
    """As that of another user, whose HOME is taken over: looking for a file there raises."""
    keep()
    own = os.stat

    def refused(path, *args, **kwargs):
        if os.environ["XDG_CACHE_HOME"] in os.fspath(path):
            raise problem
        return own(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refused)
    assert not kept_graphs.is_kept(analysis)
    assert kept_graphs.fill(analysis) is None


def test_only_the_last_graphs_stay(keep, monkeypatch):
    monkeypatch.setattr(kept_graphs, "MOST_KEPT", 1)
    first = keep()
    os.utime(first, (1, 1))
    shutil.copy(first, first.parent / "of-another-policy.zip")
    keep({**PIXELS, "pixel_count": [5]})
    assert len(list(first.parent.glob("*.zip"))) == 1


@pytest.fixture(scope="module")
def runs_cache(tmp_path_factory):
    """The cache folder of these runs, and of workers of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def transformed(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for folder in ("transform_fn", "transformed_metadata")
        for path in sorted((out / folder).rglob("*"))
        if path.is_file() and path.relative_to(out).as_posix() != RANDOM
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "gray numbers"])
def test_a_filled_graph_is_what_transform_writes(photos, runs_cache, tmp_path, kind):
    """A graph of other labels or shards is kept; one is made of it; Transform makes the same, in the same process."""
    options = {"input": str(photos), "name": "x", "size": (16, 16), "encoding": "uint8", "max_reject_rate": 0.1}
    if kind == "gray numbers":
        lines = [f"{path},{number % 7}.25,{number}" for number, path in enumerate(sorted(photos.rglob("*.jpg")))]
        (tmp_path / "table.csv").write_text("\n".join(["path,weight,height", *lines]))
        options |= {"input": str(tmp_path / "table.csv"), "target": ("weight", "height"), "allow_outside": True,
                    "channels": 1}  # fmt: skip

    else:
        for label in range(5):
            for number in range(8):
                draw_photo(tmp_path / f"others/{label}/{number}.jpg", 8 * label + number, (20, 30))

    def transform(out, **more):
        prepare.prepare(PrepareConfig(output=str(tmp_path / out), **(options | more)))
        return transformed(tmp_path / out), [path for path in runs_cache.rglob("*.zip") if path not in others]

    others = list(runs_cache.rglob("*.zip"))
    another = {"input": str(tmp_path / "others")} if kind == "classes" else {"seed": 7}
    elsewhere, [kept] = transform("elsewhere", shards=3, **another)
    os.utime(kept, (1, 1))
    filled, again = transform("out")
    assert [path.stat().st_mtime > 1 for path in again] == [True]  # it was used
    shutil.rmtree(tmp_path / "out")
    kept.unlink()
    assert transform("out")[0] == filled
    assert kept.exists()  # Transform wrote it
    assert filled["transform_fn/saved_model.pb"] != elsewhere["transform_fn/saved_model.pb"]
