"""Functions of a program that can be called once more without a trace, and others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.doctor.tools import plain_functions

FIRST, DROP, NOTED = 0.006, 0.5, []


def compounds(epoch, lr):
    return lr * math.pow(DROP, epoch / 10.0)


def cut_once(epoch, lr):
    return FIRST * 0.1 if epoch > 4 else lr


def noted(epoch, lr):
    NOTED.append(epoch)
    return lr


TABLE = {"first": 0.1, "drops": [10, 20]}


def by_table(epoch, lr):
    return TABLE["first"] * np.power(0.5, (epoch > 10) + (epoch > 20)) + compounds(epoch, lr)


def draws(epoch, lr):
    return lr * np.random.random()


def prints(epoch, lr):
    print(epoch)
    return lr


def counts(epoch, lr):
    global FIRST
    FIRST = lr
    return lr


def fills(epoch, lr):
    TABLE[epoch] = lr
    return lr


class Rule:
    def rate(self, epoch, lr):
        return lr


@pytest.mark.parametrize(
    ("function", "expected"),
    [(compounds, True), (cut_once, True), (by_table, True),
     (lambda epoch: 0.1**epoch, True), (draws, False), (prints, False),
     (counts, False), (fills, False), (noted, False), (Rule().rate, False), (Rule, False), (print, False)],
)  # fmt: skip
def test_functions_that_can_be_called_without_a_trace(function, expected):
    assert plain_functions.is_plain(function) is expected
