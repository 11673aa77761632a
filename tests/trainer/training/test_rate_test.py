"""The range test of learning rates: its rates, what it suggests, and the command."""

import json
import math

import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from tests.support.datasets import write_dataset
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.training import rate_test
from trainer.training.rate_range import RateRange

RATES = RateRange(1e-5, 1.0, 51).rates()


def outcome(losses, ended=""):
    return rate_test.Tested(np.array(RATES[: len(losses)]), np.array(losses), np.array(losses), ended)


def valley():
    """The loss falls fastest at 1e-3, is least at 1e-1 and rises from there."""
    return outcome([1 / (1 + math.exp(4 * (math.log10(r) + 3))) + max(0.0, math.log10(r) + 1) ** 2 for r in RATES])


def test_rates_rise_by_an_equal_factor():
    assert (RATES[0], RATES[-1]) == pytest.approx((1e-5, 1.0))
    np.testing.assert_allclose(np.divide(RATES[1:], RATES[:-1]), 10**0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"from_rate": 1.0, "to_rate": 0.5}, "--to-rate should be above --from-rate. Received: 0.5 and 1."),
        ({"from_rate": 0.0}, "--from-rate should be above 0"),
        ({"rate_steps": 1}, "--rate-steps should be from 2"),
    ],
)
def test_ranges_that_are_none_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        RateRange(**options)


def test_the_average_by_hand():
    np.testing.assert_allclose(rate_test.smoothed([2.0, 4.0]), [2.0, (0.9 * 0.2 + 0.4) / 0.19])
    np.testing.assert_allclose(rate_test.smoothed([3.0] * 5), [3.0] * 5)


def test_the_suggestion_is_a_tenth_of_the_rate_of_the_least_loss():
    found = valley()
    assert found.steepest == pytest.approx(1e-3, rel=0.01)
    assert found.least == pytest.approx(0.1, rel=0.3)
    assert found.suggestion == pytest.approx(found.least / 10, rel=0.05)
    losses = [5.0, *found.losses[1:]]  # the average of one loss may be anything
    assert outcome(losses).steepest == found.steepest
    text = rate_test.text(found)
    assert f"--learning-rate {found.suggestion:g}" in text
    assert len(text.splitlines()) == 1 + rate_test.ROWS + 2


@pytest.mark.parametrize("losses", [[1.0, 0.5, 0.4], list(np.linspace(1, 2, 20))], ids=["few", "rising"])
def test_without_a_fall_there_is_no_suggestion(losses):
    found = outcome(losses, "At 0.1 the loss was no finite number.")
    assert found.suggestion is None
    assert "There is no suggestion" in rate_test.text(found)
    assert "no finite number" in rate_test.text(found)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("lr") / "data"
    write_dataset(path, encoding="uint8", shape=(10, 10, 3))
    return path


@pytest.mark.slow
def test_the_command_writes_a_table_a_plot_and_a_suggestion(data, tmp_path, capsys):
    out = tmp_path / "rates"
    arguments = ["lr", "--data", str(data), "--output", str(out), "--batch-size", "8", "--rate-steps", "60"]
    assert (
        main([*arguments, "--from-rate", "1e-4", "--to-rate", "100", "--train-size", "8", "--schedule", "cosine"]) == 0
    )
    said = capsys.readouterr().out
    found = json.loads((out / "learning-rate.json").read_text())
    assert f"--learning-rate {found['suggestion']:g}" in said
    assert 1e-4 < found["suggestion"] < 1
    assert (out / "learning-rate.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in out.iterdir()} == {"learning-rate.png", "learning-rate.json"}
    rates = [step["learning_rate"] for step in found["steps"]]
    np.testing.assert_allclose(rates, RateRange(1e-4, 100, 60).rates()[: len(rates)])


@pytest.mark.slow
def test_a_loss_that_explodes_ends_the_test(data, tmp_path):
    config = TrainConfig(str(data), str(tmp_path / "o"), batch_size=8, mixup=0.4)  # whose loss is never near 0
    found = rate_test.run(config, RateRange(1e-3, 100, 80))
    assert len(found.rates) < 80
    assert "times the least one" in found.ended or "no finite number" in found.ended
    again = rate_test.run(config, RateRange(1e-3, 100, 80))
    np.testing.assert_array_equal(again.losses, found.losses)


@pytest.mark.parametrize("options", [{"fold": 0}, {"folds": "all"}], ids=str)
def test_folds_are_refused(options):
    with pytest.raises(TrainerError, match=r"runs on all of train\. Leave --fold, --folds and --train-share out"):
        rate_test.run(TrainConfig("d", "o", **options), RateRange())


def test_several_devices_are_refused():
    with pytest.raises(TrainerError, match=r"runs on one device\. Received: --strategy mirrored"):
        rate_test.run(TrainConfig("d", "o", strategy="mirrored"), RateRange())
