"""What is told of a split: the numbers, the words on a terminal, the page."""

import html.parser
import json

import numpy as np
import pytest

from tests.support.datasets import write_dataset
from trainer.evaluation import mistakes, predictions
from trainer.evaluation.assessment import Assessment
from trainer.evaluation.cautions import cautions
from trainer.evaluation.mistakes import Mistake
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.scores.abstention import Abstention
from trainer.evaluation.scores.calibration import UNCALIBRATED, Calibration, Threshold
from trainer.reporting import class_page, evaluation_files, score_table

NASTY = '<script>alert("x")</script>\u202e\ud800'


def made(probabilities, labels, fitted=UNCALIBRATED, names=("cat", "x"), split="test"):
    """An assessment of records with these probabilities before calibration."""
    logits = np.log(np.asarray(probabilities, np.float64))
    keys = tuple(f"{i:016x}-000" for i in range(len(labels)))
    return Assessment(split, Predictions(names, keys, np.asarray(labels), logits), fitted)


@pytest.fixture
def found():
    """Nine cats and one x, of which x is never answered, though it would be from 0.25 on: then with one cat."""
    of_x = [0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.3, 0.4]
    fitted = Calibration(1.0, Threshold("x", 1, 0.25), "validation", 10)
    return made([[1 - p, p] for p in of_x], [0] * 9 + [1], fitted)


def test_the_table(found):
    assert score_table.table(found).splitlines() == [
        "class  precision  recall  (95 %)         F1    AUC     AP  support",
        "cat        0.900   1.000  0.701-1.000  0.947  1.000  1.000        9",
        "x              -   0.000  0.000-0.793  0.000  1.000  1.000        1",
        "accuracy           0.900 0.700-1.000  (always answering 'cat': 0.900)",
        "balanced accuracy  0.500 0.350-0.897  (always answering one class: 0.500)",
        "macro F1           0.474 0.474-0.474  mean AUC 1.000  loss 0.213",
        "calibration error  0.170  (by chance alone: 0.201; before temperature 1, fitted on 'validation': 0.170)",
        "threshold          'x' from probability 0.25: balanced accuracy 0.944, recall of 'x' 1.000 (from 0.5: 0.500, "
        "0.000)",
        "note: The accuracy does not differ clearly from that of always answering 'cat'.",
        "note: The balanced accuracy does not differ clearly from that of always answering one class.",
        "note: These classes have fewer than 10 records, so their recall is very uncertain: cat (9), x (1).",
    ]


def test_the_numbers(found):
    result = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (result["accuracy"], result["balanced_accuracy"]) == (0.9, 0.5)
    assert result["accuracy_interval"] == [0.7, 1.0]
    assert result["per_class"]["x"] == {
        "precision": None, "precision_interval": [None, None], "recall": 0.0,
        "recall_interval": [0.0, pytest.approx(0.7935, abs=1e-4)], "f1": 0.0, "support": 1, "predicted": 0,
        "roc_auc": 1.0, "average_precision": 1.0,
    }  # fmt: skip
    assert (result["macro_roc_auc"], result["macro_average_precision"]) == (1, 1)
    decision = result["decision"]
    assert (decision["label"], decision["threshold"], decision["chosen_on"]) == ("x", 0.25, "validation")
    assert decision["confusion_matrix"] == [[8, 1], [0, 1]]
    assert decision["balanced_accuracy"] == pytest.approx((8 / 9 + 1) / 2)
    assert decision["per_class"]["x"]["precision"] == 0.5
    calibration = result["calibration"]
    assert (calibration["temperature"], calibration["fitted_on"], calibration["bins"]) == (1.0, "validation", 15)
    assert calibration["before"] == calibration["after"]
    assert sum(b["records"] for b in calibration["reliability"]) == 10


def test_a_temperature_changes_probabilities_and_no_answer():
    given, labels = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 0, 1]
    plain, cooled = made(given, labels), made(given, labels, Calibration(0.5, None, "validation", 9))
    assert plain.matrix.tolist() == cooled.matrix.tolist()
    np.testing.assert_allclose(cooled.probabilities[0], [0.81 / 0.82, 0.01 / 0.82])
    np.testing.assert_allclose(cooled.predictions.probabilities(), plain.probabilities)
    result = cooled.to_dict()
    assert result["loss"] == pytest.approx(plain.to_dict()["loss"])  # that of training
    assert result["calibration"]["before"]["loss"] == pytest.approx(result["loss"])
    assert result["calibration"]["after"]["loss"] != pytest.approx(result["loss"])
    assert result["decision"] is None


def test_an_answer_of_exactly_the_threshold_is_positive():
    even = made([[0.5, 0.5], [0.75, 0.25]], [1, 0], Calibration(1.0, Threshold("x", 1, 0.5), "validation", 2))
    assert even.probabilities[0].tolist() == [0.5, 0.5]
    assert even.at_threshold is not None
    assert even.at_threshold.matrix.tolist() == [[1, 0], [0, 1]]
    assert even.matrix.tolist() == [[1, 0], [1, 0]]  # of two equal probabilities the plain answer is the first class


def test_worst_are_the_surest_wrong_ones():
    given = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.01, 0.99], [0.3, 0.7]]
    found = made(given, [0, 0, 1, 1, 0])
    assert found.worst(9).tolist() == [1, 4, 2]
    assert found.worst(2).tolist() == [1, 4]


def test_cautions():
    sure = made([[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20, [0] * 20 + [1] * 20)
    assert cautions(sure) == []
    wrong = made([[0.1, 0.9]] * 30 + [[0.1, 0.9]] * 10, [0] * 30 + [1] * 10)
    assert cautions(wrong)[0] == "The accuracy is lower than that of always answering 'cat'."
    absent = made([[0.9, 0.05, 0.05]] * 12, [0] * 12, names=("a", "b", "c"))
    assert "These classes have no records, so all means leave them out: b, c." in cautions(absent)
    flattering = made([[0.9, 0.1]] * 20, [0] * 20, Calibration(1.0, None, "validation", 20), split="validation")
    assert cautions(flattering)[-1].endswith("were chosen on this split: its scores are too optimistic.")
    assert cautions(made(np.zeros((0, 2)), np.zeros(0, int))) == ["There are no records."]
    told = made([[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20, [0] * 20 + [1] * 20, Calibration(100.0, None, "validation", 12))
    assert cautions(told)[-1].startswith(
        "The temperature is at its bound: on 'validation' (12 records) the probabilities"
    )


def test_predictions_as_csv():
    found = made([[0.9, 0.1], [0.2, 0.8]], [0, 0], names=("a,b", "c")).predictions
    assert predictions.to_csv(found, 1.0).splitlines() == [
        'key,label,predicted,probability,"probability of a,b",probability of c',
        '0000000000000000-000,"a,b","a,b",0.9,0.9,0.1',
        '0000000000000001-000,"a,b",c,0.8,0.2,0.8',
    ]
    logits = np.zeros((1, 101))
    logits[0, [7, 5, 3, 9, 1]] = np.log([50, 40, 30, 20, 10])
    many = Predictions(tuple(map(str, range(101))), ("k",), np.array([0]), logits)
    heading, row = predictions.to_csv(many, 1.0).splitlines()
    assert heading.startswith(
        "key,label,predicted,probability,probability of the label,class 2,probability of class 2,"
    )
    total = 96 + 50 + 40 + 30 + 20 + 10
    shares = [format(n / total, ".6g") for n in (50, 1, 40, 30, 20, 10)]
    assert row == "k,0,7,{},{},5,{},3,{},9,{},1,{}".format(*shares)


class Tags(html.parser.HTMLParser):
    """Counts tags, and refuses one that is closed without being open."""

    VOID = ("meta", "img", "path", "circle", "rect", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page(found):
    picture = mistakes.data_uri(np.zeros((4, 4, 3), np.uint8))
    wrong = Mistake("0000000000000009-000", "x", "cat", 0.6, 0.4, "photos/x/9.jpg", picture, 4)
    text = class_page.render("my run", {"dataset": "d"}, [found], {"test": [wrong]})
    tags = Tags(text)
    assert "script" not in tags.seen
    assert tags.seen.count("img") == 1
    links = [value for name, value in tags.attributes if name in ("src", "href")]
    assert all(link.startswith(("data:image/png;base64,", "#split-")) for link in links)
    for shown in ("0.900", "0.700–1.000", "0000000000000009-000", "photos/x/9.jpg", "Decision threshold", "chosen"):
        assert shown in text
    assert '<td class="cell right" style="--share: 100.0%">9<small>100 %</small></td>' in text


def test_names_of_strangers_are_shown_and_do_nothing(found):
    hostile = Mistake(NASTY, NASTY, NASTY, 0.6, 0.4, NASTY, mistakes.data_uri(np.zeros((200, 4, 3), np.uint8)), 200)
    given = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    evil = made(given, [0, 0, 1], Calibration(1.0, Threshold(NASTY, 1, 0.3), NASTY, 3), ("a", NASTY), NASTY)
    text = class_page.render(NASTY, {NASTY: NASTY}, [evil], {NASTY: [hostile]})
    text.encode()  # no lone surrogate is left
    assert "script" not in Tags(text).seen
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;\\u202e\\ud800" in text


@pytest.mark.parametrize("classes", [2, 3, 25])
def test_pages_of_few_and_many_classes_and_of_absent_ones(classes):
    names = tuple(f"class {i}" for i in range(classes))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes - 1, 80)  # the last class has no records
    text = class_page.render("r", {}, [made(rng.dirichlet(np.ones(classes), 80), labels, names=names)], {})
    tags = Tags(text)
    assert (tags.seen.count("small") > 0) == (classes <= class_page.MOST_CELLS)
    assert ("too many for a matrix" in text) == (classes > class_page.MOST_CELLS)
    assert "No temperature was fitted" in text
    assert ">nan" not in text.lower()


def test_mistakes_come_with_pixels_and_sources(tmp_path):
    contract = write_dataset(tmp_path / "d", encoding="float16", splits={"test": (5, 4)})
    from trainer.evaluation import inference

    keys, labels = inference.keys(tmp_path / "d", "test")
    given = np.full((9, 2), 0.5)
    given[4] = (0.9, 0.1) if labels[4] else (0.1, 0.9)
    logits = np.log(given) + 1e-6 * np.eye(2)[labels]  # all right but number 4
    logits[4] = np.log(given[4])
    found = Assessment("test", Predictions(contract.labels, keys, labels, logits), UNCALIBRATED)
    (one,) = mistakes.worst(found, tmp_path / "d", 4)
    assert (one.key, one.label, one.source) == (keys[4], contract.labels[labels[4]], "")
    assert (one.probability, one.of_label) == (pytest.approx(0.9), pytest.approx(0.1))
    (image,) = inference.pixels(tmp_path / "d", "test", np.array([4]), 4)
    assert one.picture == mistakes.data_uri(image)
    assert one.picture.startswith("data:image/png;base64,")
    ledger = tmp_path / "d" / "ledger"
    ledger.mkdir()
    for shard in contract.splits["test"].shards:
        rest = {"key": "k", "label": "ok", "digest": "0" * 64, "copy": 0}
        lines = [json.dumps({"uri": f"{shard.file[-14:-9]}/{i}.jpg", **rest}) for i in range(shard.records)]
        (ledger / f"{shard.file}.jsonl").write_text("\n".join(lines) + "\n")
    numbers = [int(key[:16], 16) for key in keys]  # records alternate over the two shards
    expected = [f"{contract.splits['test'].shards[n % 2].file[-14:-9]}/{n // 2}.jpg" for n in numbers]
    assert mistakes.sources(tmp_path / "d", "test") == expected
    (ledger / f"{contract.splits['test'].shards[0].file}.jsonl").write_text("{}\n")
    assert mistakes.sources(tmp_path / "d", "test") == []


def test_a_model_that_abstains_is_scored_on_what_it_answers():
    """The three surest are answered from 0.7 on, one of them wrongly; of all six, three are wrong."""
    of_cat = [0.9, 0.8, 0.7, 0.6, 0.6, 0.55]
    chosen = Abstention(0.65, 0.4, 9, 3, False, "validation", 12)
    fitted = Calibration(1.0, None, "validation", 12, chosen)
    found = made([[p, 1 - p] for p in of_cat], [0, 0, 1, 1, 0, 1], fitted)
    content = found.to_dict()
    assert content["abstention"] == {
        "wanted_error": 0.4, "promised": False, "threshold": 0.65, "answered": 3, "wrong": 1, "coverage": 0.5,
        "coverage_interval": [pytest.approx(0.188, abs=1e-3), pytest.approx(0.812, abs=1e-3)],
        "error": pytest.approx(1 / 3),
        "error_interval": [pytest.approx(0.061, abs=1e-3), pytest.approx(0.792, abs=1e-3)],
    }  # fmt: skip
    assert [(row["answered"], row["wrong"]) for row in content["risk_coverage"]] == [(6, 3), (5, 2), (3, 1), (2, 0)]
    assert content["risk_coverage"][0]["threshold"] == 0
    (line,) = [line for line in score_table.table(found).splitlines() if line.startswith("abstaining")]
    assert line == (
        "abstaining         below probability 0.65: 3 of 6 answered (0.500), error among them 0.333 0.061-0.792  "
        "(without: 0.500)"
    )
    text = class_page.render("run", {}, [found], {})
    assert "leaves answers to 9 of 12 records of validation, 3 of them wrong." in text
    assert '<th scope="row">0.65, chosen</th><td class="num">3</td><td class="num">50 %</td>' in text
    assert "abstention" not in made([[0.9, 0.1]], [0]).to_dict()


def test_numbers_with_cautions(found):
    assert evaluation_files.splits([found])["test"]["cautions"] == cautions(found)
