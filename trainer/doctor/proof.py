"""Defines a proof: what the remedy of a finding changes in a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

HELPS = 0.01  # of the score; a smaller gain is no reason to change a program


@dataclasses.dataclass(frozen=True)
class Arm:
    """Holds the scores of a program trained in one way, by several seeds.

    scores: (seeds, points), the score on the held-out data after each part of the training.
    """

    scores: np.ndarray

    @property
    def last(self) -> np.ndarray:
        """Returns the score of each seed at the end, (seeds,)."""
        return self.scores[:, -1]


@dataclasses.dataclass(frozen=True)
class Proof:
    """Holds two trainings of a program: as it is, and with the remedy of a finding.

    finding: its id; "" if no finding has a remedy.
    remedy: what was changed, in words.
    passed: id of each finding that ranks before it, and why its remedy cannot be tried.
    score: the name of the score, as "balanced accuracy".
    held_out: what the score was measured on.
    before, after: None if nothing was trained.
    error: standard error of the gain, because the held-out records are a sample.
    points: the steps after which the score was measured.
    notes: what was cut, and what differs from the user's training.
    patch: the change as a unified diff; "" if it is not one expression of the user's file.
    """

    finding: str = ""
    remedy: str = ""
    passed: tuple[tuple[str, str], ...] = ()
    score: str = ""
    held_out: str = ""
    before: Arm | None = None
    after: Arm | None = None
    error: float = 0.0
    points: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    patch: str = ""

    @property
    def helps(self) -> bool:
        """Tells whether every seed scores higher with the remedy.

        The gain is HELPS on average, and two standard errors.
        """
        if self.before is None or self.after is None:
            return False
        gain = self.after.last - self.before.last
        return bool((gain > 0).all() and gain.mean() >= max(HELPS, 2 * self.error))

    @property
    def sentence(self) -> str:
        """Returns the result in one sentence."""
        if self.before is None or self.after is None:
            return "Nothing was trained: no finding has a remedy that can be tried mechanically."
        gain = float(self.after.last.mean() - self.before.last.mean())
        if self.helps:
            seeds = len(self.after.last)
            each = f"with each of {seeds} seeds" if seeds > 1 else "with the one seed that there was time for"
            return f"The remedy helps: {self.score} rises by {gain:.3f}, {each}."
        if gain <= -HELPS and (self.after.last < self.before.last).all():
            return f"The remedy did not help here: {self.score} falls by {-gain:.3f}."
        if gain >= HELPS and gain < 2 * self.error:
            return (
                f"Whether the remedy helps cannot be told: {self.score} rises by {gain:.3f}, and on so few held-out "
                f"data {2 * self.error:.3f} may be chance."
            )
        return (
            f"The remedy did not help here: {self.score} changes by {gain:+.3f}, which is too little, or not alike "
            "with each seed."
        )

    def lines(self) -> list[str]:
        """Returns the sentences of the text output, without the patch."""
        found = [f"[{id_}] was not tried: {why}." for id_, why in self.passed]
        if self.before is None or self.after is None:
            return [*found, self.sentence]
        found.append(f"Tried: {self.remedy}, for [{self.finding}].")
        for name, arm in (("as it is", self.before), ("with the remedy", self.after)):
            found.append(
                f"{name}: {self.score} {arm.last.mean():.3f} on {self.held_out} ({arm.last.min():.3f} to "
                f"{arm.last.max():.3f} of {len(arm.last)} seeds); after {_listed(self.points)} steps: "
                f"{_listed(f'{value:.3f}' for value in arm.scores.mean(axis=0))}"
            )
        return [*found, self.sentence, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Returns the proof for JSON."""
        arms = {name: None if arm is None else arm.scores.tolist() for name, arm in
                (("before", self.before), ("after", self.after))}  # fmt: skip
        names = ("finding", "remedy", "score", "held_out", "error", "points", "notes", "patch")
        passed = [{"finding": id_, "reason": why} for id_, why in self.passed]
        return {name: getattr(self, name) for name in names} | arms | {
            "passed": passed, "helps": self.helps, "sentence": self.sentence
        }  # fmt: skip


def _listed(values: Sequence[Any] | Any) -> str:
    return ", ".join(map(str, values))
