"""The command line: what it makes of good values, and that a mistake ends with status 2 and the option's name."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest

from pipelines.cli import options
from pipelines.config import AUGMENT_DEFAULTS, PrepareConfig
from pipelines.core.errors import ConfigError
from pipelines.options import config_fields

BASE = ["prepare", "--input", "in", "--output", "out"]


def parsed(*flags: str) -> PrepareConfig:
    args, rest = options.parse([*BASE, *flags])
    assert rest == []
    return options.prepare_config(args)


def test_the_defaults_are_the_configurations():
    assert parsed() == PrepareConfig(input="in", output="out")


@pytest.mark.parametrize(
    ("flags", "option", "value"),
    [
        (["--name", "birds"], "name", "birds"),
        (["--layout", "class"], "layout", "class"),
        (["--allow-outside"], "allow_outside", True),
        (["--max-reject-rate", "0.5"], "max_reject_rate", 0.5),
        (["--max-pixels", "99"], "max_pixels", 99),
        (["--max-frames", "99"], "max_frames", 99),
        (["--image-memory", "256M"], "image_memory", 256 << 20),
        (["--max-file-bytes", "99"], "max_file_bytes", 99),
        (["--size", "64x96"], "size", (64, 96)),
        (["--size", "64×96"], "size", (64, 96)),
        (["--size", "64"], "size", (64, 64)),
        (["--resize", "crop"], "resize", "crop"),
        (["--resize", "none"], "resize", "none"),
        (["--filter", "bilinear"], "filter", "bilinear"),
        (["--background", "0, 128,255"], "background", (0, 128, 255)),
        (["--normalize", "unit"], "normalize", "unit"),
        (["--encoding", "uint8"], "encoding", "uint8"),
        (["--jpeg-quality", "80"], "jpeg_quality", 80),
        (["--splits", "train=0.9, test=0.1"], "splits", {"train": 0.9, "test": 0.1}),
        (["--duplicates", "drop"], "duplicates", "drop"),
        (["--balance", "uniform"], "per_class", 0),
        (["--balance", "uniform=50"], "per_class", 50),
        (["--balance", "sqrt"], "balance", "sqrt"),
        (["--balance", "temperature=2.5"], "temperature", 2.5),
        (["--balance", "counts=cat:5,a:b:7"], "counts", {"cat": 5, "a:b": 7}),
        (["--max-copies", "4"], "max_copies", 4),
        (["--augment", "default"], "augment", AUGMENT_DEFAULTS),
        (["--augment", "none"], "augment", {}),
        (["--augment", "flip,rotate=5,erase"], "augment", {"flip": 1.0, "rotate": 5.0, "erase": 0.1}),
        (["--shards", "3"], "shards", 3),
        (["--shard-size", "64M"], "shard_size", 64 << 20),
        (["--shard-size", "2GiB"], "shard_size", 2 << 30),
        (["--shard-size", "5kB"], "shard_size", 5 << 10),
        (["--shard-size", "77"], "shard_size", 77),
        (["--seed", "-3"], "seed", -3),
        (["--workers", "2"], "workers", 2),
    ],
)
def test_good_values(flags, option, value):
    assert getattr(parsed(*flags), option) == value


@pytest.mark.parametrize(
    "flags",
    [
        ["--layout", "flat"], ["--max-reject-rate", "some"], ["--max-pixels", "1.5"], ["--max-file-bytes", "x"],
        ["--size", "64x"], ["--size", "64x64x3"], ["--size", "-1x5"], ["--resize", "zoom"], ["--filter", "nearest"],
        ["--background", "0,0"], ["--background", "white"], ["--background", "0,0,²"], ["--normalize", "max"],
        ["--encoding", "webp"], ["--jpeg-quality", "high"], ["--splits", "train"], ["--splits", "train=0.5,train=0.5"],
        ["--splits", "train=most"], ["--splits", "=1"], ["--balance", "even"], ["--balance", "sqrt=2"],
        ["--balance", "temperature"], ["--balance", "temperature=hot"], ["--balance", "counts"],
        ["--balance", "counts=cat"], ["--balance", "counts=cat:5,cat:6"], ["--balance", "counts=cat:1.5"],
        ["--balance", "uniform=all"], ["--max-copies", "many"], ["--augment", "blur"], ["--augment", "flip=much"],
        ["--augment", "none,flip"], ["--augment", ""], ["--augment", "flip,flip=0.5"], ["--shards", "few"],
        ["--shard-size", "64T"], ["--shard-size", "-1M"], ["--seed", "x"], ["--workers", "all"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_values_end_with_status_2_and_the_options_name(flags, capsys):
    with pytest.raises(SystemExit) as raised:
        options.parse([*BASE, *flags])

    assert raised.value.code == 2
    assert f"argument {flags[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--target", "--keep", "--exclude", "--bands", "--splits", "--path-prefix"])
def test_a_list_that_is_given_twice_is_refused(flag, capsys):
    """The last one would silently replace the first, although both may be wanted."""
    one, other = {"--bands": "12", "--splits": ("train=1", "train=1"), "--path-prefix": ("a=b", "c=d")}.get(flag, "xy")
    with pytest.raises(SystemExit) as ended:
        options.parse([*BASE, flag, one, flag, other])
    assert ended.value.code == 2
    assert f"argument {flag}: was given twice" in capsys.readouterr().err
    args, _ = options.parse([*BASE, "--size", "8", "--size", "9"])  # one value replaces another
    assert args.size == (9, 9)


def test_what_prepare_does_not_know_is_left_for_beam():
    args, rest = options.parse([*BASE, "--direct_num_workers", "3", "--runner", "FlinkRunner", "--frames=3"])

    assert rest == ["--direct_num_workers", "3", "--frames=3"]
    assert args.runner == "FlinkRunner"


@pytest.mark.parametrize(("flag", "meant"), [("--lables", "--labels"), ("--blance=uniform", "--balance")])
def test_an_option_that_is_nearly_ours_is_not_left_for_beam(flag, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        options.parse(["prepare", "--input", "a", "--output", "b", flag, "multi"])
    assert ended.value.code == 2
    assert f"unrecognized arguments: {flag.partition('=')[0]}; did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["look"], ["prepare", "--output", "o", "--input"]])
def test_a_pattern_that_the_shell_replaced_is_told(command, tmp_path, capsys):
    names = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    for name in names:
        pathlib.Path(name).write_text("path,label\n")
    with pytest.raises(SystemExit) as ended:
        options.parse([*command, *names])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert (
        f"unrecognized arguments: {names[1]}. The shell replaces a pattern such as *.csv by the names of files" in said
    )


def test_options_are_not_guessed_from_their_beginnings():
    _, rest = options.parse([*BASE, "--work", "3"])
    assert rest == ["--work", "3"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["bake"], "invalid choice: 'bake'"),
        (["inspect"], "directory"),
        (["verify", "dir", "--deep"], "unrecognized arguments: --deep"),
        (["sample"], "--output"),
        (["sample", "--output", "o", "--count", "x"], "--count"),
    ],
)
def test_mistakes_of_other_commands(argv, message, capsys):
    with pytest.raises(SystemExit) as raised:
        options.parse(argv)

    assert raised.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("given", "missing"), [("--input", "--output"), ("--output", "--input")])
def test_what_prepare_needs(given, missing):
    args, _ = options.parse(["prepare", given, "x"])
    with pytest.raises(ConfigError, match=rf"^The following options are required: {missing}\.$"):
        options.prepare_config(args)


def test_a_file_gives_the_options_as_the_command_line_does(tmp_path):
    file = tmp_path / "prepare.yaml"
    file.write_text(
        "input: in\noutput: elsewhere\nsize: 64x96\nsplits: train=0.9,test=0.1\nbalance: counts=cat:5,dog:7\n"
        "augment: flip,rotate=5\nshard-size: 64M\nbackground: 0,128,255\nallow_outside: yes\nlayout: class\n"
    )
    args, rest = options.parse(["prepare", "--config", str(file), "--output", "out", "--layout", "split"])
    assert rest == []
    assert options.prepare_config(args) == parsed(
        "--size", "64x96", "--splits", "train=0.9,test=0.1", "--balance", "counts=cat:5,dog:7", "--augment",
        "flip,rotate=5", "--shard-size", "64M", "--background", "0,128,255", "--allow-outside", "--layout", "split",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("size: big", "size should be HxW, such as 128x128. Received: 'big'."),
        ("balance: even", "balance should be none, uniform,"),
        ("seed: x", "seed should be a whole number. Received: 'x'."),
        ("runner: FlinkRunner", "has an unknown option 'runner'"),
        ("per_class: 5", "has an unknown option 'per_class'"),
    ],
)
def test_a_file_with_a_mistake(tmp_path, line, message):
    (tmp_path / "prepare.yaml").write_text(f"input: in\noutput: out\n{line}\n")
    args, _ = options.parse(["prepare", "--config", str(tmp_path / "prepare.yaml")])
    with pytest.raises(ConfigError, match=re.escape(message)):
        options.prepare_config(args)


def test_the_shown_defaults_are_read_back():
    for field in config_fields.options(PrepareConfig):
        if not config_fields.required(field):
            default = field.default_factory() if callable(field.default_factory) else field.default
            again = config_fields.parsed(field, config_fields.shown(field, default))
            assert (again["balance"] if field.name == "balance" else again) == default, field.name


def test_other_commands():
    inspect, _ = options.parse(["inspect", "dir", "--json", "--images", "a.png", "--split", "test"])
    sample, _ = options.parse(["sample", "--output", "o"])

    here, _ = options.parse(["verify", "dir", "--source"])
    there, _ = options.parse(["verify", "dir", "--source", "x", "--json"])
    plain, _ = options.parse(["verify", "dir"])

    assert [(v.directory, v.source, v.json) for v in (here, there, plain)] == [
        ("dir", "", False), ("dir", "x", True), ("dir", None, False),
    ]  # fmt: skip
    assert (inspect.directory, inspect.json, inspect.images, inspect.split) == ("dir", True, "a.png", "test")
    assert (sample.output, sample.count, sample.seed) == ("o", 1500, 0)


def test_every_option_has_a_flag_but_those_that_balance_sets():
    flags = {action.dest for action in _parsers()["prepare"]._actions}
    assert {f.name for f in dataclasses.fields(PrepareConfig)} - flags == {
        "temperature", "per_class", "counts", "thumbnails",
    }  # fmt: skip


def _parsers():
    [commands] = [a for a in options.build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return commands.choices


def test_every_help_text_can_be_read_alone_and_states_the_default():
    for command, parser in _parsers().items():
        for action in parser._actions:
            if "--help" in action.option_strings:
                continue
            text = " ".join(str(action.help).split())
            words = re.split(r"\((?:default: |required)", text)[0].split()
            assert len(words) >= 4, f"{command} {action.dest}: {text!r}"
            if action.option_strings and not action.required:
                assert re.search(r"\((default: .+|required)\)$", text), f"{command} {action.dest}: {text!r}"


def test_help_names_every_option_and_imports_nothing_heavy():
    program = (
        "import runpy, sys\n"
        "sys.argv = ['pipelines', 'prepare', '--help']\n"
        "try:\n    runpy.run_module('pipelines.cli.options')\n"
        "    from pipelines.cli import options; options.parse(sys.argv[1:])\n"
        "except SystemExit as e:\n    assert e.code == 0, e.code\n"
        "heavy = {'tensorflow', 'apache_beam', 'numpy', 'PIL', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    for option in ("--input", "--splits", "--balance", "--shard-size", "--runner", "--augment", "Exit status"):
        assert option in done.stdout


def test_options_are_those_of_the_earlier_dataset_if_they_are_not_given(tmp_path):
    old = "tests/data/format_1/jpeg"
    made = parsed("--like", old, "--seed", "3")
    assert (made.size, made.encoding, made.jpeg_quality, made.seed) == ((8, 8), "jpeg", 95, 3)
    file = tmp_path / "prepare.yaml"
    file.write_text(f"input: in\noutput: out\nlike: {old}\nseed: 3\n")
    assert options.prepare_config(options.parse(["prepare", "--config", str(file)])[0]) == made
    with pytest.raises(ConfigError, match=r"^--size should be 8x8, as in --like"):
        parsed("--config", str(file), "--size", "16")


def test_a_file_of_classes_is_read(tmp_path, capsys):
    (tmp_path / "c.txt").write_text("dog\ncat\n")
    assert parsed("--classes", str(tmp_path / "c.txt")).classes.names == ("dog", "cat")
    with pytest.raises(SystemExit) as raised:
        parsed("--classes", str(tmp_path / "none.txt"))
    assert raised.value.code == 2
    assert "argument --classes: should be a file with one label a line" in capsys.readouterr().err
