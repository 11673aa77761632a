"""Draws the sample data: photographs of hens' eggs, sound or cracked, nine to one.

The sample shows why the product is needed: a grading line sees few cracked eggs, under every light and on every ground,
so that a model that gets raw pixels of unbalanced classes learns to answer "sound". `eggs.py` paints the eggs and
describes how the classes differ.

Image i depends on (seed, i) only. Its random numbers come from NumPy's frozen RandomState stream and its pixels
from + - * / and sqrt, so that the same Pillow writes the same bytes on every run and in any number of threads.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pipelines.sample import eggs
from pipelines.sample.eggs import Plane

LABELS = ("sound", "cracked")
RARE_EVERY = 10  # every tenth image is cracked: 9:1
SIDES = (80, 240)  # least and greatest side of an image, in pixels
VERSION = 1  # version of the drawing; a directory of another version is drawn again

# The forms of the files that are not plain RGB, by a number 0..49 drawn for each file of either class.
ODD_FORMS = dict(enumerate(("gray", "gray", "exif", "exif", "exif", "palette", "alpha", "alpha")))


def draw(directory: str | os.PathLike[str], count: int = 1500, seed: int = 0) -> None:
    """Draws `count` images into `directory/sound` and `directory/cracked`.

    It does nothing if they exist already. The images are drawn into a temporary directory next to `directory`, which is
    renamed when it is complete. An interrupted call therefore leaves no directory, and the next call draws again.

    Args:
      directory: a local directory; its parent is made if it does not exist.
      count: the number of images of both classes, at least 1; every tenth image is cracked.
      seed: 0..2**32-1; another seed draws other eggs.

    Raises:
      ValueError: `count` or `seed` is out of range.
      FileExistsError: the directory holds something that this function did not draw.
    """
    if count < 1 or not 0 <= seed < 2**32:
        raise ValueError(f"count should be at least 1 and seed 0..2**32-1. Received: count={count}, seed={seed}")
    target = Path(os.path.abspath(directory))
    wanted = {"count": count, "seed": seed, "version": VERSION}
    marker = target.parent / f".{target.name}.sample.json"  # not inside: there it would be one of the inputs
    if target.exists():
        if _read(marker) == wanted:
            return
        if not _drawn_here(target):
            raise FileExistsError(f"{target} holds files that are not sample data. Name a new or an empty directory.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        _draw_all(partial, count, seed)
        partial.chmod(0o755)  # mkdtemp makes it private
        marker.unlink(missing_ok=True)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        marker.write_text(json.dumps(wanted) + "\n", encoding="utf-8")  # last: without it, the images are redrawn
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(marker: Path) -> dict[str, int] | None:
    try:
        found: dict[str, int] = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _drawn_here(directory: Path) -> bool:
    """Returns whether a directory holds only files that this module draws.

    Such a directory may be replaced.
    """
    names = re.compile(rf"({'|'.join(LABELS)})(/egg-\d{{5,}}\.(jpg|png))?")
    return directory.is_dir() and all(
        names.fullmatch(p.relative_to(directory).as_posix()) for p in directory.rglob("*")
    )


def _draw_all(directory: Path, count: int, seed: int) -> None:
    for label in LABELS:
        (directory / label).mkdir()
    # Threads suffice: Pillow and NumPy release the interpreter lock. A fork would copy all that the caller has loaded.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda index: _draw_one(directory, seed, index), range(count)):
            pass


def _draw_one(directory: Path, seed: int, index: int) -> None:
    rng = np.random.RandomState([seed, index])
    cracked = index % RARE_EVERY == RARE_EVERY - 1
    height, width = (int(n) for n in rng.randint(SIDES[0], SIDES[1] + 1, 2))
    height = min(max(height, width * 2 // 3), width * 3 // 2)  # the aspect is 3:2 at most
    form = ODD_FORMS.get(int(rng.randint(50)), "rgb")
    pixels, shell = eggs.photograph(rng, height, width, cracked)
    _save(rng, directory / LABELS[cracked] / f"egg-{index:05d}", pixels, shell, form)


def _save(rng: np.random.RandomState, stem: Path, pixels: Plane, shell: Plane, form: str) -> None:
    """Writes one file in `form`.

    The form is plain RGB as JPEG or PNG, or one of the forms that a decode policy has to handle.
    """
    image = Image.fromarray((pixels * 255 + np.float32(0.5)).astype(np.uint8))
    if rng.random_sample() < 0.5:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.7)))
    if form == "palette":
        image.quantize(128).save(stem.with_suffix(".png"))
    elif form == "alpha":  # a cut-out, as in product photographs
        image.putalpha(Image.fromarray((shell * 255).astype(np.uint8)))
        image.save(stem.with_suffix(".png"), compress_level=1)
    elif form == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6  # "turn by 90 degrees clockwise to view", as a phone held upright writes it
        image.transpose(Image.Transpose.ROTATE_90).save(stem.with_suffix(".jpg"), quality=88, exif=exif)
    elif form == "gray":
        image.convert("L").save(stem.with_suffix(".jpg"), quality=88)
    elif rng.random_sample() < 0.12:
        image.save(stem.with_suffix(".png"), compress_level=1)
    else:
        image.save(stem.with_suffix(".jpg"), quality=int(rng.randint(75, 93)))
