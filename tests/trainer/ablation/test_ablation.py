"""The ablation: what it compares, what it refuses to compare, what it claims, and that it goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from pipelines.contract import Shard, Split
from pipelines.core.errors import ConfigError
from tests.support import trainings as training_support
from tests.support.datasets import make_contract, write_dataset
from tests.support.files.images import draw_photo
from tests.support.log import logged
from trainer.ablation import ablate, conclusions, report, scoring, trainings
from trainer.ablation import datasets as prepared
from trainer.ablation.config import AblateConfig, check_data
from trainer.ablation.study import Setting, Study
from trainer.ablation.trainings import Outcome
from trainer.ablation.variants import CURVE, VARIANTS
from trainer.cli.main import main
from trainer.config import TrainerError
from trainer.evaluation.scores import class_scores
from trainer.models import build

VARIANT = {v.name: v for v in VARIANTS}


def config(**options):
    return AblateConfig(**({"data": "photos", "output": "out"} | options))


# ---- what is compared


def test_every_variant_differs_from_its_reference_in_one_thing():
    """One flag of prepare, or one option of training, or the network."""
    for variant in VARIANTS[1:]:
        reference = VARIANT[variant.against]
        pairs = [
            dict(zip(v.preparation.flags[::2], v.preparation.flags[1::2], strict=True)) for v in (variant, reference)
        ]
        flags = {name for name in pairs[0].keys() | pairs[1].keys() if pairs[0].get(name) != pairs[1].get(name)}
        training = {
            n for n in {*variant.training, *reference.training} if variant.training.get(n) != reference.training.get(n)
        }
        changes = [*flags, *training, *(["network"] if variant.network != reference.network else [])]
        # To balance by plain copies is one thing and two flags: without copies it does not matter what they undergo.
        assert len(changes) == 1 or set(changes) == {"--balance", "--augment"}, variant.name
        assert variant.change


def test_the_list_of_the_table():
    assert [v.name for v in VARIANTS] == [
        "raw", "resized", "unit", "zscore", "copied", "augmented", "weighted", "adjusted", "half", "double",
    ]  # fmt: skip
    on_zscore = [v.name for v in VARIANTS if v.preparation.name == "zscore"]
    assert on_zscore == ["zscore", "weighted", "adjusted"]  # one dataset


def test_all_variants_train_as_many_steps():
    for variant in VARIANTS:
        options = trainings.train_config(config(epochs=7, batch_size=32), variant, 2, "d", images=100)
        assert (options.steps, options.epochs, options.seed, options.flip, options.resume) == (4, 7, 2, False, True)
    assert trainings.train_config(config(), VARIANT["double"], 0, "d", 1).model == "trainer.ablation.capacity:double"
    assert trainings.train_config(config(model="resnet20"), VARIANT["raw"], 0, "d", 1).model == "resnet20"
    pretrained = config(init_weights="w.h5")
    given = [trainings.train_config(pretrained, VARIANT[name], 0, "d", 1).init_weights for name in ("raw", "half")]
    assert given == ["w.h5", ""]  # those of the cnn do not fit half of its filters


def test_the_amounts_of_a_learning_curve_double_and_train_as_many_steps():
    asked = config(learning_curve=True, epochs=3, batch_size=32)
    names = [v.name for v in asked.chosen()]
    assert names == ["images-1-of-8", "images-1-of-4", "images-1-of-2", "images-1-of-1"]
    assert [v.against for v in asked.chosen()] == ["", *names[:-1]]
    options = [trainings.train_config(asked, variant, 0, "d", images=800) for variant in asked.chosen()]
    assert [(o.train_share, o.epochs, o.steps) for o in options] == [
        (1 / 8, 24, 25), (1 / 4, 12, 25), (1 / 2, 6, 25), (1, 3, 25),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--learning-curve has variants of its own"):
        config(learning_curve=True, variants="raw")


def test_what_twice_as_many_images_are_worth():
    """Of 40 images, 20, 24, 28 and 32 are right with each amount: a tenth more with each doubling."""
    truth = np.repeat([0, 1], 20)
    contract = make_contract(
        splits={
            "train": Split({"ok": 80, "broken": 80}, {}, {}, ()),
            "test": Split({"ok": 20, "broken": 20}, {}, {}, ()),
        }
    )
    outcomes = []
    for seed in range(3):
        for number, variant in enumerate(CURVE):
            answers = truth.copy()
            for label in (0, 1):
                own = np.flatnonzero(truth == label)
                answers[own[: 10 - 2 * number]] = 1 - label
            outcomes.append(Outcome(variant.name, seed, answers, 1, 1.0))
    study = Study.of(Setting("photos", contract, truth, {"model": "cnn", "size": "8x8", "epochs": 1}), CURVE, outcomes)
    assert study.curve is not None
    gain = study.curve.doubling["balanced_accuracy"]
    assert gain.mean == pytest.approx(0.1)
    assert 0 < gain.low < 0.1 < gain.high
    assert study.summary.startswith(
        "Between 20 and 160 train images, twice as many raised balanced accuracy by +0.100 ("
    )
    assert study.to_dict()["doubling"]["images"] == [20, 160]
    assert "twice as many" in report.text(study)
    one = Study.of(study.setting, CURVE, [o for o in outcomes if not o.seed])
    assert "in one seed, which supports no claim" in one.summary
    assert Study.of(study.setting, CURVE, outcomes[:1]).curve is None


def test_half_and_double_are_the_cnn_with_other_filters():
    def filters(name):
        return [layer.filters for layer in build.build(name, make_contract()).layers if hasattr(layer, "filters")]

    assert filters("cnn") == [16, 32, 64, 128]
    assert filters(VARIANT["half"].network) == [8, 16, 32, 64]
    assert filters(VARIANT["double"].network) == [32, 64, 128, 256]


def test_a_fitted_head_has_no_epochs():
    asked = config(learning_curve=True, init_weights="w.keras", fit_head=True)
    given = [trainings.train_config(asked, variant, 1, "d", images=800) for variant in asked.chosen()]
    assert [(o.fit_head, o.epochs, o.steps, o.seed, o.train_part) for o in given] == [
        (True, 0, 0, 1, name) for name in (*(f"train-share-{s}-seed-1" for s in (0.125, 0.25, 0.5)), "train")
    ]


def test_the_flags_of_prepare():
    asked = config(data="p.csv", size="32x48", prepare_flags="--allow-outside --max-reject-rate 0.5")
    flags = prepared.flags(asked, VARIANT["copied"].preparation)
    text = " ".join(flags)
    assert text.startswith("--input p.csv --output out/data/copied --name copied --size 32x48 --splits train=0.6,")
    assert "--balance uniform --augment none" in text
    assert flags[-3:] == ["--allow-outside", "--max-reject-rate", "0.5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "--seeds should be from 1 to 1000. Received: 0"),
        ({"epochs": 0}, "--epochs should be"),
        ({"size": "64"}, "--size should be HxW"),
        ({"variants": "raw,raw"}, "each once. Received: 'raw,raw'"),
        ({"variants": "cooked"}, "--variants should be all, or some of raw, resized"),
        ({"variants": "half", "model": "resnet20"}, "half should go with --model cnn. Received: 'resnet20'"),
        (
            {"variants": "half", "init_weights": "w.keras", "fit_head": True},
            "half should go with .* without --fit-head",
        ),
        ({"fit_head": True}, "--fit-head leaves all layers but the last one as --init-weights makes them. Give both"),
        ({"prepare_flags": "--size 3x3"}, "--prepare-flags should leave --size to the ablation"),
        ({"prepare_flags": "--balance=none"}, "should leave --balance=none to"),
        ({"prepare_flags": "--labels multi"}, "for one class an image, and --prepare-flags has --labels multi"),
        (
            {"prepare_flags": "--workers 2 --target=age"},
            "has --target. Prepare the dataset yourself, train",
        ),
        ({"prepare_flags": "'"}, "--prepare-flags cannot be read"),
        ({"output": "gs://b/o"}, "--output should be a local directory"),
        ({"learning_rate": 0.0}, "--learning-rate should be above 0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)


def test_capacity_is_left_out_for_other_networks():
    assert [v.name for v in config(model="resnet20").chosen()][-1] == "adjusted"
    assert [v.name for v in config(variants="zscore, raw").chosen()] == ["raw", "zscore"]


def test_data_that_cannot_be(tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"There is no 'nowhere'"):
        check_data(config(data="nowhere"))
    write_dataset(tmp_path / "d", splits={"train": (1, 1)})
    assert main(["ablate", "--data", str(tmp_path / "d")]) == 2
    assert "should be the raw images" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match="should not lie in the images"):
        check_data(config(data=str(tmp_path / "photos"), output=str(tmp_path / "photos" / "out")))
    check_data(config(data="gs://bucket/photos"))
    check_data(config(data="photos/*.jpg"))


# ---- that it can be compared


def datasets(tmp_path, changes=()):
    """Two directories with contracts alone; `changes` are of the second."""
    made = {}
    for name, change in (("one", {}), ("two", dict(changes))):
        contract = make_contract(splits={split: split_of_three(split) for split in ("train", "test")}, **change)
        (tmp_path / name).mkdir()
        (tmp_path / name / "contract.json").write_text(contract.to_json())
        made[name] = str(tmp_path / name)
    return made


def split_of_three(name):
    counts = {"ok": 2, "broken": 1}
    shard = Shard(f"tiny-{name}.tfrecord-00000-of-00001", 3, 1, "0" * 64)
    return Split(counts, counts, {"ok": 0, "broken": 0}, (shard,))


RECORDS = frozenset({("a-000", 0), ("b-000", 0), ("c-000", 1)})


def reading(directories, **odd):
    """Records of (directory, split): RECORDS but where `odd` says otherwise of "two"."""
    return lambda d, split: odd.get(split, RECORDS) if d == directories["two"] else RECORDS


def test_equal_splits_are_compared(tmp_path):
    made = datasets(tmp_path)
    prepared.check_alike(made, reading(made, train=RECORDS | {("c-001", 1), ("c-002", 1)}))  # copies in train


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            {"test": RECORDS - {("c-000", 1)}},
            "Split 'test' of 'two' should hold the images of 'one': 1 are missing and 0",
        ),
        ({"test": RECORDS - {("c-000", 1)} | {("d-000", 1)}}, "1 are missing and 1 are others"),
        ({"test": RECORDS - {("c-000", 1)} | {("c-000", 0)}}, "1 are missing and 1 are others"),  # another label
        ({"train": RECORDS - {("a-000", 0)}}, "Split 'train' of 'two'"),
        ({"test": RECORDS | {("c-001", 1)}}, "should keep its natural distribution. It holds 1 copies"),
    ],
)
def test_other_splits_are_refused(tmp_path, odd, message):
    made = datasets(tmp_path)
    with pytest.raises(TrainerError, match=message):
        prepared.check_alike(made, reading(made, **odd))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_digest": "1" * 64}, "should have one source_digest"),
        ({"seed": 1}, "should have one seed. Received: 0 and 1"),
        ({"image_shape": (9, 8, 3)}, "should have one image_shape"),
    ],
)
def test_other_contracts_are_refused(tmp_path, change, message):
    made = datasets(tmp_path, change)
    with pytest.raises(TrainerError, match=message):
        prepared.check_alike(made, reading(made))


def test_an_empty_test_split_is_refused(tmp_path):
    made = datasets(tmp_path)
    contract = make_contract(splits={"train": split_of_three("train")})
    (tmp_path / "one" / "contract.json").write_text(contract.to_json())
    with pytest.raises(TrainerError, match="--splits should give 'test' a share"):
        prepared.check_alike(made, reading(made))


# ---- scores and claims


def test_scores_are_those_of_the_metrics():
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    matrix = class_scores.confusion_matrix(truth, answers, 3)
    expected = {
        "accuracy": class_scores.accuracy(matrix), "balanced_accuracy": class_scores.balanced_accuracy(matrix),
        "macro_f1": class_scores.macro_f1(matrix), "rare_recall": class_scores.recall(matrix)[2],
    }  # fmt: skip
    assert scoring.scores(truth, answers, 3, 2) == pytest.approx(expected)


def test_scores_by_hand():
    found = scoring.scores(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2, 1)
    assert found == pytest.approx(
        {"accuracy": 3 / 4, "balanced_accuracy": (2 / 3 + 1) / 2, "macro_f1": (4 / 5 + 2 / 3) / 2, "rare_recall": 1}
    )


def test_resampled_differences():
    truth = np.repeat([0, 1], [40, 10])
    right, majority = np.tile(truth, (2, 1)), np.zeros((2, 50), np.int64)
    same = scoring.differences(truth, right, right, 2, 1, rounds=50)
    assert all(not values.any() for values in same.values())
    better = scoring.differences(truth, right, majority, 2, 1, rounds=50)
    assert better["balanced_accuracy"] == pytest.approx(np.full(50, 0.5))  # whatever is drawn: 1 against 1/2
    half = right.copy()
    half[:, truth == 1] = [[1, 0] * 5, [1, 0] * 5]
    resampled = scoring.differences(truth, half, majority, 2, 1, rounds=4000)["rare_recall"]
    assert resampled.mean() == pytest.approx(0.5, abs=0.02)
    assert resampled.std() == pytest.approx(np.sqrt(0.5 * 0.5 / 10), rel=0.05)  # of a binomial share of 10
    np.testing.assert_array_equal(
        scoring.differences(truth, half, majority, 2, 1, 20)["rare_recall"],
        scoring.differences(truth, half, majority, 2, 1, 20)["rare_recall"],
    )


def test_students_interval():
    """Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, so the half width is 4.3027 * 0.1 / sqrt(3) = 0.2484."""
    found = conclusions.effect([0.1, 0.2, 0.3], np.full(100, 0.2))
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, -0.0484, 0.4484), abs=1e-4)
    assert not found.supported
    assert conclusions.effect([0.19, 0.2, 0.21], np.full(100, 0.2)).supported
    assert conclusions.effect([-0.19, -0.2, -0.21], np.full(100, -0.2)).supported


def test_what_the_images_do_not_support_is_not_claimed():
    spread = np.linspace(-0.1, 0.5, 101)
    assert not conclusions.effect([0.2, 0.2, 0.2], spread).supported
    assert not conclusions.effect([0.2], np.full(100, 0.2)).supported  # one seed


def comparison(change, mean, low, high, other=0.0):
    chief = conclusions.Effect(mean, low, high)
    effects = dict.fromkeys(scoring.METRICS, conclusions.Effect(other, other - 1, other + 1)) | {
        "balanced_accuracy": chief
    }
    return conclusions.Comparison(f"v{change}", "base", change, effects)


def test_sentences():
    better, worse = comparison("more", 0.2, 0.1, 0.3), comparison("less", -0.2, -0.3, -0.1)
    unclear, one = comparison("other", 0.05, -0.1, 0.2), comparison("single", 0.05, np.nan, np.nan)
    assert better.sentence() == "more (vmore against base) raised balanced accuracy +0.200 (+0.100 to +0.300)"
    assert worse.sentence() == "less (vless against base) lowered balanced accuracy -0.200 (-0.300 to -0.100)"
    assert unclear.sentence().endswith(
        "no difference that the spread supports; balanced accuracy +0.050 (-0.100 to +0.200)"
    )
    assert one.sentence().endswith("balanced accuracy +0.050 in one seed, which supports no claim")
    assert conclusions.summary([better, worse, unclear]) == (
        "Balanced accuracy was raised by more (+0.200); balanced accuracy was lowered by less (-0.200); for other the "
        "spread supports no claim on either."
    )
    assert conclusions.summary([unclear, one]) == "The spread supports no claim for any of these changes."
    rare = dataclasses.replace(unclear, effects={**unclear.effects, "rare_recall": conclusions.Effect(0.3, 0.1, 0.5)})
    assert conclusions.summary([rare]) == "Recall of the rare class was raised by other (+0.300)."
    assert conclusions.summary([]) == ""


# ---- the study and its report


@pytest.fixture(scope="module")
def study():
    """Raw always answers the majority; resized is right but for one image of each class, differing with the seed."""
    counts = {"ok": 30, "broken": 10}
    contract = make_contract(splits={s: Split(counts, counts, {}, ()) for s in ("train", "test")})
    truth = np.repeat([0, 1], [30, 10])
    setting = Setting("photos <1>", contract, truth, config().decisive())
    outcomes = []
    for seed in range(3):
        answers = truth.copy()
        answers[[seed, 30 + seed]] = [1, 0]
        outcomes += [Outcome("raw", seed, np.zeros(40, np.int64), 1, 1.0), Outcome("resized", seed, answers, 2, 1.0)]
    return Study.of(setting, VARIANTS, outcomes)


def test_a_study_by_hand(study):
    assert (study.setting.majority, study.setting.rare) == ("ok", "broken")
    assert study.setting.baseline == pytest.approx(
        {"accuracy": 0.75, "balanced_accuracy": 0.5, "macro_f1": (60 / 70) / 2, "rare_recall": 0}
    )
    assert study.values("resized", "rare_recall") == pytest.approx([0.9] * 3)
    assert study.mean("resized", "balanced_accuracy") == pytest.approx((29 / 30 + 0.9) / 2)
    [only] = study.comparisons
    assert (only.variant, only.against) == ("resized", "raw")
    found = only.effects["balanced_accuracy"]
    assert found.supported
    assert found.mean == pytest.approx((29 / 30 + 0.9) / 2 - 0.5)
    assert found.low < found.mean < found.high  # over images there is a spread, over seeds there is none


def test_the_json_is_plain_and_whole(study):
    content = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert list(content["variants"]) == ["raw", "resized"]
    assert content["variants"]["raw"]["seeds"]["2"]["accuracy"] == 0.75
    assert content["variants"]["raw"]["prepare"][:2] == ["--resize", "none"]
    assert content["comparisons"][0]["effects"]["rare_recall"]["supported"] is True
    assert content["setting"]["test_records"] == 40
    assert content["summary"].startswith("Balanced accuracy was raised by resizing")


def test_the_tables(study):
    text = report.text(study)
    lines = text.splitlines()
    assert (
        "scored on the same 40 test images in their natural distribution, 10 of them of the rare class 'broken'" in text
    )
    assert lines[3].split() == ["always", "answering", "'ok'", "0.750", "0.500", "0.429", "0.000"]
    assert lines[5].startswith("resized, pixels 0–255")
    assert "0.950 ± 0.000" in lines[5]
    markdown = report.markdown(study)
    assert "| resized, pixels 0–255 | 0.950 ± 0.000 | 0.933 ± 0.000 |" in markdown
    assert conclusions.RULE in markdown


def test_the_page_is_whole_and_escapes(study):
    page = report.page(study)
    assert "photos &lt;1&gt;" in page
    assert "photos <1>" not in page
    assert page.count("<tr") == 4
    assert "data:image/png;base64,iVBOR" in page
    assert "http" not in page


def test_equal_studies_give_equal_pictures(study):
    assert report.png(study) == report.png(study)


def test_the_picture_shows_every_seed(study):
    panels = report.figure(study).axes
    assert [panel.get_title() for panel in panels] == [
        "accuracy", "balanced accuracy", "macro F1", "recall of 'broken'",
    ]  # fmt: skip
    seeds, means = panels[3].collections
    assert seeds.get_offsets()[:, 0].tolist() == pytest.approx([0, 0, 0, 0.9, 0.9, 0.9])
    assert means.get_offsets()[:, 0].tolist() == pytest.approx([0, 0.9])
    assert panels[3].lines[0].get_xdata()[0] == 0  # always answering ok finds no broken one


def test_expected_time_goes_by_variant():
    done = [Outcome("raw", 0, np.zeros(1), 1, 90.0), Outcome("raw", 1, np.zeros(1), 1, 10.0)]
    assert ablate._left([], [(VARIANT["raw"], 0)]) == ""
    assert ablate._left(done, [(VARIANT["raw"], 2), (VARIANT["unit"], 2)]) == "; about 20 s left"
    assert ablate._left(done, [(VARIANT["raw"], s) for s in range(12)]) == "; about 2 min left"


# ---- from beginning to end


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(directory, lines, study) of a run with pipelines' own prepare: two variants, one dataset, a manifest."""
    root = tmp_path_factory.mktemp("ablation")
    rows = ["path,label"]
    for i in range(30):
        label = "ok" if i % 3 else "broken"
        draw_photo(root / "photos" / f"{i:02d}.png", i, (20, 16))
        rows.append(f"photos/{i:02d}.png,{label}")
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    with logged() as text, training_support.without_reports(page=True):
        found = ablate.ablate(small(root, seeds=1))
    return root, text.getvalue().splitlines(), found


def small(root, **options):
    given = {"epochs": 1, "size": "8x8", "variants": "zscore,adjusted"} | options
    return config(data=str(root / "list.csv"), output=str(root / "out"), **given)


@pytest.mark.slow  # waits for the fixture
def test_it_prepares_once_and_trains_each(finished):
    root, lines, found = finished
    assert [line.partition(";")[0] for line in lines] == [
        "dataset 1/1, zscore: prepare --resize stretch --normalize zscore --balance none",
        "training 1/2, zscore, seed 0",
        "training 2/2, adjusted, seed 0",
    ]
    for name in ("zscore", "adjusted"):  # each training's progress is in a file of its own, without a level or a time
        log = (root / "out/runs" / name / "seed-0.log").read_text().splitlines()
        assert sum(line.startswith("epoch 1/1  loss ") for line in log) == 1
        assert sum(line.startswith("served as a SavedModel, ") for line in log) == 1
    assert {path.name for path in (root / "out").iterdir()} == {
        "ablation-options.json", "ablation.html", "ablation.json", "ablation.md", "ablation.png", "data", "runs",
    }  # fmt: skip
    saved = json.loads((root / "out" / "ablation.json").read_text())
    assert saved == json.loads(json.dumps(found.to_dict()))
    assert saved["setting"]["test_records"] == 6
    assert saved["comparisons"][0]["effects"]["accuracy"]["supported"] is False  # one seed


@pytest.mark.slow
def test_more_seeds_keep_what_is_there(finished, monkeypatch, caplog):
    root, _, first = finished
    trained = []
    monkeypatch.setattr(
        trainings, "train", lambda options, real=trainings.train: trained.append(options) or real(options)
    )
    caplog.set_level(logging.INFO, "trainer")
    before = {p: p.stat().st_mtime_ns for p in (root / "out" / "runs").rglob("seed-0/model.keras")}
    with training_support.without_reports(export=False, page=True):
        found = ablate.ablate(small(root, seeds=2, variants="zscore"))
    assert [line.partition(";")[0] for line in caplog.messages] == [  # and nothing of the training itself
        "dataset 1/1, zscore: kept",
        "training 1/2, zscore, seed 0",
        "training 2/2, zscore, seed 1",
    ]
    assert len(before) == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before  # not trained again
    assert sorted(found.outcomes["zscore"]) == [0, 1]
    assert (found.outcomes["zscore"][0].answers == first.outcomes["zscore"][0].answers).all()
    assert len(trained) == 2


@pytest.mark.slow  # waits for the fixture
def test_other_options_or_images_are_refused(finished):
    root, *_ = finished
    with pytest.raises(TrainerError, match=r"holds an ablation with --epochs 1\. Give the same"):
        ablate.ablate(dataclasses.replace(small(root), epochs=2))
    picture = root / "photos" / "00.png"
    kept = picture.read_bytes()
    picture.write_bytes((root / "photos" / "01.png").read_bytes())
    try:
        with pytest.raises(TrainerError, match=r"is damaged, or was made of other images: .*00\.png"):
            ablate.ablate(small(root))
    finally:
        picture.write_bytes(kept)


def test_an_output_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    (tmp_path / "photos").mkdir()
    with pytest.raises(TrainerError, match="It holds something else"):
        ablate.ablate(config(data=str(tmp_path / "photos"), output=str(tmp_path / "out")))


@pytest.mark.slow
def test_what_prepare_says_against_it_ends_the_run(tmp_path, capfd):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "1.txt").write_text("no image")
    with pytest.raises(TrainerError, match=r"`python -m pipelines prepare` ended with status \d; its message is above"):
        ablate.ablate(config(data=str(tmp_path / "photos"), output=str(tmp_path / "out")))
    assert "error:" in capfd.readouterr().err


def test_help_is_instant_and_loads_nothing_heavy():
    code = (
        "import sys; from trainer.__main__ import main\n"
        "try: main(['ablate', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'apache_beam', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip().endswith("[]")
