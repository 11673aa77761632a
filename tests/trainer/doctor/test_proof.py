"""What a proof says of the scores of two trainings."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.doctor.proof import Arm, Proof


def proof(before, after, error=0.0):
    arms = (Arm(np.array([[0.1, score] for score in scores])) for scores in (before, after))
    return Proof("few-steps", "more steps", (), "accuracy", "60 images", *arms, error, points=(5, 10))


@pytest.mark.parametrize(
    ("before", "after", "helps", "said"),
    [
        ((0.5, 0.5, 0.6), (0.7, 0.9, 0.75), True, "helps: accuracy rises by 0.250, with each of 3 seeds."),
        ((0.5,), (0.75,), True, "rises by 0.250, with the one seed that there was time for."),
        ((0.5, 0.5, 0.6), (0.4, 0.4, 0.35), False, "did not help here: accuracy falls by 0.150."),
        (
            (0.5, 0.5, 0.6),
            (0.9, 0.4, 0.6),
            False,
            "changes by +0.100, which is too little, or not alike with each seed.",
        ),
        ((0.5, 0.5), (0.505, 0.505), False, "changes by +0.005, which is too little, or not alike with each seed."),
    ],
)
def test_a_remedy_helps_where_each_seed_says_so(before, after, helps, said):
    found = proof(before, after)
    assert found.helps is helps
    assert found.sentence.endswith(said)
    assert found.to_dict()["helps"] is helps


@pytest.mark.parametrize(
    ("error", "helps", "said"),
    [
        (0.09, True, "The remedy helps: accuracy rises by 0.200, with each of 2 seeds."),
        (
            0.11,
            False,
            "Whether the remedy helps cannot be told: accuracy rises by 0.200, and on so few held-out data 0.220 may "
            "be chance.",
        ),
    ],
)
def test_a_gain_that_may_be_chance_is_no_proof(error, helps, said):
    found = proof((0.5, 0.5), (0.7, 0.7), error)
    assert (found.helps, found.sentence) == (helps, said)
