"""Runs side by side: tests by hand, pairing by key, seeds put together, and what cannot be compared."""

import json
import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from trainer.cli.main import main
from trainer.config import TrainerError
from trainer.evaluation import compare, run_predictions
from trainer.evaluation.scores import class_scores, paired_tests
from trainer.reporting import comparison

ROOT = str(Path(__file__).parents[3])


def write(directory, predicted, labels="aaaaaaaabb", keys=None, order=None, **config):
    """A run's directory with one-letter answers, and a config.yaml where options are given."""
    directory.mkdir()
    rows = list(zip(keys or [f"{i:016x}-000" for i in range(len(labels))], labels, predicted, strict=True))
    rows = [rows[i] for i in order] if order else rows
    lines = ["key,label,predicted,probability", *(f"{key},{label},{answer},0.5" for key, label, answer in rows)]
    (directory / "predictions-test.csv").write_text("\n".join(lines) + "\n")
    if config:
        options = {"data": "d", "output": directory, **config}
        (directory / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in options.items()))
    return str(directory)


def test_mcnemar_by_hand():
    assert paired_tests.mcnemar(0, 0) == paired_tests.mcnemar(7, 7) == 1
    assert paired_tests.mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert paired_tests.mcnemar(5, 0) == paired_tests.mcnemar(0, 5)
    assert paired_tests.mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert paired_tests.mcnemar(2, 3) == 1
    assert 0 < paired_tests.mcnemar(900, 1100) < 1e-4  # 2 ** -2000 is no float


def test_mcnemar_is_the_sum_over_all_coins():
    for first, second in product(range(5), range(5)):
        heads = [sum(coins) for coins in product((0, 1), repeat=first + second)]
        gap = abs(first - second)
        expected = np.mean([abs(first + second - 2 * h) >= gap for h in heads])
        assert paired_tests.mcnemar(first, second) == pytest.approx(expected)


def test_holm_by_hand():
    assert paired_tests.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired_tests.holm([0.5, 0.9]) == [1, 1]
    assert paired_tests.holm([]) == []


def test_the_balanced_difference_is_that_of_the_balanced_accuracies_and_its_spread_that_of_the_classes():
    labels = np.array(["a"] * 40 + ["b"] * 10)
    rng = np.random.default_rng(0)
    first, second = rng.random(50) < 0.6, rng.random(50) < 0.8
    difference = second.astype(float) - first
    middle, (low, high) = paired_tests.balanced_difference(difference, labels, resamples=40_000)
    by_class = [difference[labels == name] for name in "ab"]
    assert middle == pytest.approx((by_class[0].mean() + by_class[1].mean()) / 2)
    spread = math.sqrt(sum(values.var() / len(values) for values in by_class)) / 2
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.05)
    assert paired_tests.balanced_difference(difference, labels) == paired_tests.balanced_difference(difference, labels)


def test_pairing_sees_what_separate_intervals_do_not():
    """The second has all that the first has right and six more: each alone is known to 0.1, the difference is sure."""
    first = np.arange(100) < 60
    second = np.arange(100) < 66
    low, high = paired_tests.accuracy_difference(second.astype(float) - first)
    assert 0 < low < 0.06 < high < 0.12
    assert paired_tests.mcnemar(0, 6) == pytest.approx(2 / 2**6)


def test_two_runs(tmp_path):
    one = write(tmp_path / "one", "aaaaaaabaa", loss="ce", seed=0)
    two = write(tmp_path / "two", "aaaaaabbbb", loss="focal", seed=0, order=[9, 3, 1, 0, 2, 4, 5, 6, 7, 8])
    found = compare.compare([one, two], "test")
    assert found.majority == ("a", 0.8)
    assert [run.accuracy for run in found.runs] == [0.7, 0.8]
    assert [run.balanced_accuracy for run in found.runs] == [7 / 16, 7 / 8]
    (difference,) = found.differences
    assert difference.balanced_accuracy == pytest.approx(7 / 8 - 7 / 16)
    assert difference.accuracy == pytest.approx(0.1)
    (test,) = difference.tests
    assert (test.only_first, test.only_second, test.p, test.adjusted) == (1, 2, 1, 1)
    lines = comparison.text(found).splitlines()
    assert lines[0] == "test, 10 records; always answering 'a': accuracy 0.800, balanced accuracy 0.500"
    assert lines[3].startswith(f"{one}  0.700 0.400-1.000  0.438 0.312-0.500")
    assert lines[6] == f"{two}, against {one}: better"
    assert lines[-1].startswith("note: There is only one run of a setting")


def test_keys_pair_the_records_whatever_their_order(tmp_path):
    same = "abababaabb"
    one = write(tmp_path / "one", same)
    two = write(tmp_path / "two", same, order=[5, 6, 9, 8, 7, 0, 1, 2, 3, 4])
    (difference,) = compare.compare([one, two], "test").differences
    assert (difference.balanced_accuracy, difference.balanced_interval) == (0, (0, 0))
    assert comparison.verdict(difference) == "no clear difference"
    assert difference.tests[0].p == 1


def test_several_seeds_of_two_settings(tmp_path):
    given = {"ce": ("aaaaaaaaaa", "aaaaaaaaab"), "focal": ("aaaaaaaabb", "aaaaaaabbb")}
    runs = [
        write(tmp_path / f"{loss}{seed}", given[loss][seed], loss=loss, batch_size=8, seed=seed)
        for seed in (0, 1)
        for loss in ("ce", "focal")
    ]
    found = compare.compare(runs, "test")
    assert [(s.name, len(s.runs)) for s in found.settings] == [("loss=ce", 2), ("loss=focal", 2)]
    ce, focal = (comparison.spreads(setting) for setting in found.settings)
    assert ce["balanced_accuracy"] == compare.Spread(0.625, pytest.approx(math.sqrt(2) / 8), 0.5, 0.75)
    assert focal["balanced_accuracy"].mean == pytest.approx((1 + 15 / 16) / 2)
    assert ce["recall of b"].mean == 0.25
    (difference,) = found.differences
    assert difference.balanced_accuracy == pytest.approx(31 / 32 - 0.625)
    assert [(t.first[-3:], t.second[-6:]) for t in difference.tests] == [("ce0", "focal0"), ("ce1", "focal1")]
    # By seed: 1 - 0.5 and 15/16 - 0.75; t is 12.7062 with one degree of freedom, their deviation 0.3125 / sqrt(2).
    assert difference.seeds == 2
    half = 12.7062 * 0.3125 / 2
    assert difference.seeds_interval == pytest.approx((31 / 32 - 0.625 - half, 31 / 32 - 0.625 + half))
    assert difference.balanced_interval.low > 0
    assert comparison.verdict(difference) == "no clear difference"  # two seeds do not suffice
    text = comparison.text(found)
    assert "loss=ce     2     0.850 ± 0.071 (0.800-0.900)" in text
    assert ", over 2 seeds -1.642 to +2.329" in text
    assert "note:" not in text
    content = json.loads(json.dumps(comparison.to_dict(found), allow_nan=False))
    assert content["settings"][1]["runs"] == [runs[1], runs[3]]
    assert content["differences"][0]["mcnemar"][0]["only_second"] == 2


def test_seeds_that_agree_make_a_verdict_and_other_seeds_a_note(tmp_path):
    runs = [write(tmp_path / f"{loss}{seed}", answers_, loss=loss, seed=seed)
            for loss, answers_ in (("ce", "aaaaaaaaaa"), ("focal", "aaaaaaaabb")) for seed in range(3)]  # fmt: skip
    (difference,) = compare.compare(runs, "test").differences
    assert (difference.seeds_interval, comparison.verdict(difference)) == ((0.5, 0.5), "better")
    assert comparison.verdict(compare.compare(runs[::-1], "test").differences[0]) == "worse"
    other = compare.compare([*runs[:2], write(tmp_path / "a", "aaaaaaaabb", loss="focal", seed=7), runs[5]], "test")
    assert other.differences[0].seeds_interval is None
    assert comparison.note(other) == comparison.OTHER_SEEDS


def test_seeds_alone_are_set_against_the_first(tmp_path):
    runs = [write(tmp_path / str(s), "aaaaaaaab" + "ab"[s % 2], loss="ce", seed=s) for s in range(3)]
    found = compare.compare(runs, "test")
    assert len(found.settings) == 1
    assert [(d.first, d.second) for d in found.differences] == [(runs[0], runs[1]), (runs[0], runs[2])]
    assert comparison.note(compare.compare(runs, "test")) == comparison.ONE_SETTING


def test_several_tests_are_adjusted(tmp_path):
    first = write(tmp_path / "0", "bbbbbbbbbb", epochs=1)
    others = [write(tmp_path / str(i), "aaaaaaaabb"[: 6 + i] + "b" * (4 - i), epochs=1 + i) for i in (1, 2)]
    tests = [d.tests[0] for d in compare.compare([first, *others], "test").differences]
    assert [t.p for t in tests] == pytest.approx([2 / 2**7, 2 / 2**8])
    assert [t.adjusted for t in tests] == pytest.approx([2 / 2**7, 4 / 2**8])


def test_what_cannot_be_compared_is_refused_by_name(tmp_path, capsys):
    one = write(tmp_path / "one", "aaaaaaabaa")
    lacks = write(tmp_path / "lacks", "aab", "aab")
    relabelled = write(tmp_path / "relabelled", "aaaaaaabaa", "aaaaaaabbb")
    twice = write(tmp_path / "twice", "aaaaaaabaaa", "aaaaaaaabbb", keys=[f"{min(i, 9):016x}-000" for i in range(11)])
    (tmp_path / "none").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "predictions-test.csv").write_text("a,b\n1,2\n")
    empty = write(tmp_path / "empty", "", "")
    for other, expected in (
        (lacks, f"'{one}' has 7 records that '{lacks}' does not have: 0000000000000003-000, 0000000000000004-000, "),
        (relabelled, f"1 records have another one in '{relabelled}' than in '{one}': 0000000000000007-000."),
        (twice, "has a record several times"),
        (str(tmp_path / "none"), "It has no predictions-test.csv: train or evaluate again."),
        (str(tmp_path / "odd"), "should be as training wrote it (KeyError"),
        (empty, "holds no records"),
        (one, "Received one twice"),
    ):
        assert main(["compare", one, other]) == 1
        assert expected in capsys.readouterr().err
    assert main(["compare", one]) == 1
    assert "needs at least two runs" in capsys.readouterr().err
    with pytest.raises(TrainerError, match="has 7 records that"):  # also the other way around
        compare.compare([lacks, one], "test")


def test_the_command_writes_json_and_a_page_without_tensorflow(tmp_path):
    one = write(tmp_path / "<b>one", "aaaaaaabaa", loss="ce", seed=0)
    two = write(tmp_path / "two", "aaaaaabbbb", loss="focal", seed=0)
    code = (
        "import sys; from trainer.__main__ import main\n"
        f"assert main(['compare', {one!r}, {two!r}, '--json', {str(tmp_path / 'c.json')!r},"
        f" '--html', {str(tmp_path / 'c.html')!r}]) == 0\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "c.json").read_text())["differences"][0]["verdict"] == "better"
    page = (tmp_path / "c.html").read_text()
    assert "<b>one" not in page
    assert "&lt;b&gt;one" in page
    assert "better" in page


def test_recalls_leave_out_classes_without_records(tmp_path):
    found = run_predictions.read(write(tmp_path / "r", "acb", "aab"), "test")
    assert found.classes == ["a", "b", "c"]
    assert found.recalls == {"a": 0.5, "b": 1.0}
    assert found.balanced_accuracy == class_scores.balanced_accuracy(found.matrix) == 0.75
