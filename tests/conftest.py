"""Shared by all tests: one folder of drawn photographs, one prepared dataset, and the real photographs if there."""

from __future__ import annotations

import collections
import functools
import gc
import os
import pathlib
import sys
from collections.abc import Iterator

# Before TensorFlow is imported: as the commands do, see pipelines/core/console/terminal.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# The processes of a run share the cores: idle threads of OpenBLAS that wait for work took a twentieth of them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Fonts stay where they were found; `own_cache` gives the tests another cache.
os.environ.setdefault("MPLCONFIGDIR", os.path.expanduser("~/.cache/matplotlib"))

import hypothesis
import pytest
from PIL import Image

from pipelines.core import machine
from tests.support import once, warm
from tests.support.files.images import draw_photo

hypothesis.settings.register_profile("untimed", deadline=None)  # how fast an example is depends on the machine
hypothesis.settings.load_profile("untimed")

_STATUS = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Takes a process more than there are cores where slow tests run: they often wait for other processes."""
    return machine.cores() + (config.option.markexpr != "not slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that have the most slow tests, so that none of them is left to one process at the end."""
    slow: collections.Counter[str] = collections.Counter()
    for item in items:
        slow[str(item.path)] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: -slow[str(item.path)])  # stable: the tests of a file stay together, in their order


def pytest_collection_finish() -> None:
    """Collects garbage less often: a tenth of the time of a tiny training went into looking at what is imported."""
    gc.collect()
    gc.freeze()  # the test modules have imported TensorFlow, Keras and Beam
    gc.set_threshold(*warm.COLLECTED)
    warm.leave_graphs_as_they_are()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leaves with pytest's own status: after a TFT analysis the interpreter's shutdown ends in a crash in protobuf."""
    if "tensorflow_transform" in sys.modules and _STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])


@pytest.fixture(scope="session", autouse=True)
def chosen_runner() -> Iterator[None]:
    """Has `prepare` run on the Beam runner that SHARDMILL_RUNNER names: `make prism-test` does."""
    name = os.environ.get("SHARDMILL_RUNNER")
    with pytest.MonkeyPatch.context() as patch:
        if name:
            from pipelines.job import prepare

            patch.setattr(prepare, "prepare", functools.partial(prepare.prepare, runner=name))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What programs remember goes to a folder that all processes of this run share, and not to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(once.folder(tmp_path_factory) / "cache"))
        yield


# 24 ants, 8 bees and 5 cats; one bee is also an ant, two cats are equal, and one file is no image.
CLASSES = {"ant": 23, "bee": 7, "cat": 4}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of class folders: JPEGs of mixed sizes, a PNG with alpha, a GIF, a turned JPEG, equal files, a text.

    All test processes share it: no test may change it.
    """
    return once.made(tmp_path_factory, "photos", _draw)


def _draw(root: pathlib.Path) -> pathlib.Path:
    seed = 0
    for label, count in CLASSES.items():
        for i in range(count):
            seed += 1
            nested = "more/" if i % 5 == 4 else ""
            draw_photo(root / label / f"{nested}{i:02d}.jpg", seed, (40 + 3 * i, 70 - 2 * i), quality=90)
    (root / "ant/of-a-bee.jpg").write_bytes((root / "bee/00.jpg").read_bytes())
    (root / "bee/again.jpg").write_bytes((root / "bee/00.jpg").read_bytes())
    (root / "cat/twin.jpg").write_bytes((root / "cat/00.jpg").read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_photo(root / "ant/turned.jpg", 101, (64, 40), exif=exif)
    draw_photo(root / "ant/picture.gif", 102, (50, 50))
    alpha = Image.new("RGBA", (40, 40), (255, 0, 0, 128))
    alpha.save(root / "ant/clear.png")
    (root / "bee/notes.jpg").write_text("not an image")
    return root


@pytest.fixture(scope="session")
def prepared(photos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """(directory, Result, config) of one run of the whole pipeline over `photos`, balanced, float16, z-scored.

    All test processes share it: a test that changes the directory copies it first.
    """
    from pipelines.config import PrepareConfig
    from pipelines.job import prepare

    def make(root: pathlib.Path):  # type: ignore[no-untyped-def]
        out = root / "insects"
        config = PrepareConfig(
            input=str(photos), output=str(out), size=(24, 32), balance="uniform", shards=2, max_reject_rate=0.1,
            workers=2,
        )  # fmt: skip
        return out, prepare.prepare(config), config

    return once.made(tmp_path_factory, "prepared", make)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real photographs and hostile files that SHARDMILL_DATA names."""
    path = os.environ.get("SHARDMILL_DATA", "")
    if not path:
        pytest.skip("SHARDMILL_DATA is not set: no real photographs to test on")
    if not os.path.isdir(path):
        pytest.fail(f"SHARDMILL_DATA={path!r} is not a folder")
    return pathlib.Path(path)
