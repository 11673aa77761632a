"""The commands as a user runs them: exit status, sentences, and nothing on stderr that is not ours."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from pipelines import contract
from pipelines.cli import main
from pipelines.core import errors

ROOT = pathlib.Path(__file__).parents[3]


def run(*args: str, timeout: float = 300, module: str = "pipelines") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "CUDA_"))}
    return subprocess.run(
        [sys.executable, "-m", module, *args], cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.slow
def test_prepare_inspect_and_verify(photos, tmp_path, monkeypatch):
    """Status 0 after success, although the interpreter's own exit would crash; the summary adds up; nothing is left."""
    out, temporary = tmp_path / "data", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    done = run("prepare", "--input", str(photos), "--output", str(out), "--size=8", "--max-reject-rate=0.1")
    assert done.returncode == 0, done.stderr
    assert "Read 41, rejected 1 (not-an-image 1), wrote 40 records in 3 shards." in done.stdout
    assert "Equal images: 2 groups, 1 under conflicting labels." in done.stdout
    for line in done.stderr.splitlines():
        assert line.startswith(("Reads ", "Folders below", "Runs on FnApiRunner", "reading:", "preparing:")), line
    assert contract.load(out).image_shape == (8, 8, 3)
    checked = run("verify", str(out))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("Intact: 40 records in 3 shards")
    shown = run("inspect", str(out), "--images", str(tmp_path / "sheet.png"))
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert list(temporary.iterdir()) == []
    (out / "data-test.tfrecord-00000-of-00001").write_bytes(b"")
    broken = run("verify", str(out))
    assert broken.returncode == 1
    assert "data-test.tfrecord-00000-of-00001 should have" in broken.stdout


@pytest.mark.slow
def test_the_module_of_the_public_function_is_the_command_too():
    done = run("--input=photos", module="pipelines.prepare")
    assert (done.returncode, done.stderr) == (2, "error: The following options are required: --output.\n")


@pytest.mark.slow
def test_too_much_bad_data_is_status_3(photos, tmp_path, capfd):
    assert main.main(["prepare", "--input", str(photos), "--output", str(tmp_path / "data"), "--size=8"]) == 3
    said = capfd.readouterr().err
    assert "error: 1 of 41 inputs were rejected (2.4%)" in said
    assert "Traceback" not in said
    listed = (tmp_path / "data/.shardmill/rejected.jsonl").read_text()
    assert "notes.jpg" in listed
    assert not (tmp_path / "data/contract.json").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--bogus", "3"], "Unknown option '--bogus': neither `prepare` nor Apache Beam has it."),
        (["--direct_num_workers", "many"], "A Beam option cannot be used"),
        (["--size", "12y"], "--size: should be HxW, such as 128x128. Received: '12y'"),
        (["--splits", "train=0.5,test=0.1"], "--splits should add up to 1."),
        (["--balance", "fair"], "should be none, uniform, uniform=N, sqrt"),
        (["--runner", "DaskRunner"], "--runner DaskRunner is refused: it reports DONE and leaves empty files"),
    ],
)
def test_wrong_usage_is_status_2_with_a_sentence(photos, tmp_path, capfd, flags, sentence):
    with pytest.raises(SystemExit, match=r"^2$"):  # some are found while the command line is read
        sys.exit(main.main(["prepare", "--input", str(photos), "--output", str(tmp_path / "data"), *flags]))
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_an_absent_input_fails_at_once(tmp_path):
    started = time.monotonic()
    done = run("prepare", "--input", str(tmp_path / "nothing"), "--output", str(tmp_path / "data"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: --input should be a folder of class folders")
    assert time.monotonic() - started < 5  # before anything heavy is imported


def test_an_output_that_is_a_file_or_lies_in_the_input_is_refused(photos, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    done = run("prepare", "--input", str(photos), "--output", str(tmp_path / "data"), "--size=8")
    assert (done.returncode, done.stderr) == (2, f"error: --output '{tmp_path}/data' is a file. Name a folder.\n")
    done = run("prepare", "--input", str(photos), "--output", str(photos / "ant"), "--size=8")
    assert done.returncode == 2
    assert "lies in the input" in done.stderr


@pytest.mark.slow
def test_a_full_disk_is_one_sentence(photos, tmp_path):
    """A file system of 64 kB, mounted where this may be done, runs full while shards are written."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        done = run("prepare", "--input", str(photos), "--output", str(small / "data"), "--max-reject-rate=0.1")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(tmp_path):
    """Ctrl-C while shards are written: one sentence, although Beam wraps it, and nothing published."""
    for label in ("a", "b"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for i in range(300):
            noise = np.random.default_rng(i).integers(0, 256, (600, 800, 3), dtype=np.uint8)
            if i < 3:
                Image.fromarray(noise).save(tmp_path / "in" / label / f"{i}.jpg", quality=95)
            else:
                data = (tmp_path / "in" / label / f"{i % 3}.jpg").read_bytes()
                (tmp_path / "in" / label / f"{i}.jpg").write_bytes(data + b"%d" % i)
    out = tmp_path / "data"
    command = [sys.executable, "-m", "pipelines", "prepare", "--input", str(tmp_path / "in"), "--output", str(out),
               "--shards=20", "--workers=1"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(out.glob(".shardmill/staged/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "Interrupted. Run the same command again to continue where it stopped."
    assert "Traceback" not in errors
    assert not (out / "contract.json").exists()


def test_a_files_name_is_not_taken_for_an_interrupt(capsys):
    """Beam's texts of an interrupt are; a name inside an error is not."""
    name = "KeyboardInterrupt.jpg"
    assert (
        main._failed(errors.DataRejectedError(f"1 of 2 inputs were rejected; first: KeyboardInterrupt, {name}.")) == 3
    )
    assert main._failed(OSError(5, "Input/output error", "in/KeyboardInterrupt")) == 1
    assert main._failed(RuntimeError(f"ValueError: photos/KeyboardInterrupt: {name} [while running 'WriteShard']")) == 1
    assert "Interrupted" not in capsys.readouterr().err
    for text in (
        "KeyboardInterrupt [while running 'WriteShard']",
        "bundle inst003 failed:Traceback (most recent call last):\n  File ...\nRuntimeError: KeyboardInterrupt [while "
        "running 'WriteShard']\n\n",
    ):
        assert main._failed(RuntimeError(text)) == 130
        assert capsys.readouterr().err.startswith("Interrupted. Run the same command again")


@pytest.mark.parametrize("command", [[], ["prepare"], ["inspect"], ["verify"], ["sample"]])
def test_help(command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "usage: python -m pipelines" in done.stdout


def test_the_contract_imports_neither_beam_nor_transform():
    code = (
        "import sys, pipelines.contract, pipelines.cli.options\n"
        "heavy = {'apache_beam', 'tensorflow', 'tensorflow_transform', 'numpy'} & set(sys.modules)\n"
        "print(', '.join(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
