"""No input stops a run, kills it or gets lost: one run over everything that is known to break decoders and walkers."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys

import pytest

from pipelines.cli import main
from tests.support.files import images
from tests.support.files.images import draw_photo

ROOT = pathlib.Path(__file__).parents[3]
# What becomes of the 294 files of odd/, by the locked versions of the libraries; "" is written.
ODD = {"": 143, "empty": 6, "not-an-image": 93, "other-file": 1, "too-many-pixels": 5, "undecodable": 46}
NAMES = ["new\nline.jpg", "back\\slash.jpg", "st*r.jpg", "[1].jpg", "what?.jpg", "-rf.jpg", "<script>.jpg", "größe.jpg",
         "x" * 251 + ".jpg", " .jpg", "'; --.jpg", "no suffix"]  # fmt: skip
SPECIAL = {
    "fifo.jpg": "not-a-file",
    "socket.jpg": "not-a-file",
    "device.jpg": "not-a-file",
    "dangling.jpg": "dangling-link",
    "itself.jpg": "dangling-link",
    "up": "looping-link",
    "same": "looping-link",
    "outside.jpg": "outside-input",
    "outside": "outside-input",
    "twice/outside.jpg": "outside-input",
    "sparse.jpg": "too-large",
    "empty.jpg": "empty",
    "text.jpg": "not-an-image",
    "EPS.jpg": "not-an-image",
    "PDF.jpg": "not-an-image",
    "cut.jpg": "undecodable",
    "\\xff.jpg": "name-not-utf8",
    ".hidden.jpg": "hidden",
}


def build(root: pathlib.Path, outside: pathlib.Path) -> dict[str, str]:
    """Fills the input; returns path below it -> the reason it is rejected for, "" where it is written."""
    expected = {}
    for i, name in enumerate(NAMES):
        for label in ("good", "<b>b*d</b>", "-n"):
            draw_photo(root / label / "x.jpg", 3 * i + len(label), (50 + i, 40))
            (root / label / "x.jpg").rename(root / label / name)
            expected[f"{label}/{name}"] = ""
    for name, (data, reason) in images.bombs().items():
        (root / "bomb").mkdir(exist_ok=True)
        (root / "bomb" / name).write_bytes(data)
        expected[f"bomb/{name}"] = reason
    special = root / "special"
    draw_photo(special / "photo.jpg", 999, (60, 50))
    draw_photo(outside / "secret.jpg", 998, (60, 50))
    good = (special / "photo.jpg").read_bytes()
    os.mkfifo(special / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.relpath(special / "socket.jpg"))
    if os.geteuid() == 0:
        os.mknod(special / "device.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it never ends
    for link, target in {"dangling.jpg": "nowhere", "itself.jpg": "itself.jpg", "up": "..", "same": ".",
                         "outside.jpg": outside / "secret.jpg", "outside": outside}.items():  # fmt: skip
        (special / link).symlink_to(target)
    (special / "twice").mkdir()
    (special / "twice/outside.jpg").symlink_to("../outside/secret.jpg")  # through a link that stays inside
    with open(special / "sparse.jpg", "wb") as file:
        file.truncate(40 << 30)
    for name, data in {"empty.jpg": b"", "text.jpg": b"%!PS or not", "EPS.jpg": images.text_file("EPS"),
                       "PDF.jpg": images.text_file("PDF"), "cut.jpg": good[: len(good) // 2], ".hidden.jpg": good,
                       "\udcff.jpg": good}.items():  # fmt: skip
        (special / name).write_bytes(data)
    expected |= {f"special/{name}": reason for name, reason in SPECIAL.items()} | {"special/photo.jpg": ""}
    if os.geteuid() != 0:
        del expected["special/device.jpg"]
    return expected


OPTIONS = ("prepare", "--size=8", "--encoding=uint8", "--image-timeout=20")
# Runs commands one after the other; prints of each its status, and whether there is a dataset then.
PROGRAM = """
import json, os, sys
from pipelines.cli import main
print(json.dumps([(main.main(command), os.path.exists(sys.argv[2])) for command in json.loads(sys.argv[1])]))
"""


@pytest.mark.slow
def test_no_input_stops_a_run_and_each_is_accounted_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    root, out = tmp_path / "in", tmp_path / "out"
    expected = build(root, tmp_path / "outside")
    odd = []
    if data := os.environ.get("SHARDMILL_DATA"):
        shutil.copytree(f"{data}/odd", root / "odd")
        odd = [str(p.relative_to(root)) for p in (root / "odd").rglob("*") if p.is_file()]
    mark = tmp_path / "started"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(f"#!/bin/sh\necho >> {mark}\nexit 1\n")
    (tmp_path / "bin/gs").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    args = (f"--input={root}", f"--output={out}", "--balance=counts=good:4", "--splits=train=0.5,test=0.5",
            "--layout=class")  # fmt: skip

    commands = json.dumps([[*OPTIONS, *args], [*OPTIONS, *args, "--max-reject-rate=0.9"]])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, commands, str(out / "contract.json")],
        cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[3, False], [0, True]], done.stderr[-2000:]
    assert done.stderr.count("Nothing was published.") == 1
    assert not mark.exists()  # no program was started for PostScript that calls itself a JPEG

    rejected = [json.loads(line) for line in (out / "rejects/rejected.jsonl").read_text().split("\n") if line]
    unused = [json.loads(line) for line in (out / "rejects/unused.jsonl").read_text().split("\n") if line]
    ledgers = {file.name: file.read_text().split("\n") for file in (out / "ledger").iterdir()}
    ledger = [{**json.loads(line), "file": file} for file, lines in ledgers.items() for line in lines if line]
    found = {os.path.relpath(row["uri"], root): row["reason"] for row in rejected}
    written = {os.path.relpath(row["uri"], root) for row in ledger if not row["copy"]}
    left_out = {os.path.relpath(row["uri"], root) for row in unused}
    outcome = {**dict.fromkeys(written | left_out, ""), **found}
    assert {name: outcome.pop(name, None) for name in expected} == expected
    assert sorted(outcome) == sorted(odd)  # every one of them is written or rejected with a reason
    assert collections.Counter(outcome.values()) == (ODD if odd else {})
    assert all(row["detail"] for row in rejected)

    counts = json.loads((out / "stats/summary.json").read_text())
    natural = [c for split in counts["classes"].values() for c in split.values()]
    assert counts["read"] == len(expected) + len(odd) == len(rejected) + len(left_out) + len(written)
    assert sum(counts["rejected"].values()) == len(rejected) == len(found)
    assert sum(c["unused"] for c in natural) == len(left_out) > 0
    assert sum(c["natural"] for c in natural) == len(left_out) + len(written)
    for split, classes in counts["classes"].items():
        originals = [row["label"] for row in ledger if f"-{split}.tfrecord-" in row["file"] and not row["copy"]]
        spare = [row["label"] for row in unused if row["split"] == split]
        told = {label: (c["natural"], c["stored"] - c["copies"], c["unused"]) for label, c in classes.items()}
        assert told == {n: ((originals + spare).count(n), originals.count(n), spare.count(n)) for n in classes}


@pytest.mark.slow
def test_a_run_of_which_nothing_can_be_read_says_why(tmp_path, capfd):
    for label in ("a", "b"):
        (tmp_path / "in" / label).mkdir(parents=True)
        (tmp_path / "in" / label / "1.jpg").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(99))
    assert main.main([*OPTIONS, f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]) == 3
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(
        f"error: No image can be used. The first, '{tmp_path}/in/a/1.jpg', is a reject: not-an-image. It is a MATLAB "
        "file. Write its images as files (scipy.io.loadmat). No readable image"
    )
