"""Formats the doctor's report as text and JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from pipelines.core.text import plural
from trainer.doctor.finding import ERROR, INFO, LEVELS, Finding, ranked
from trainer.doctor.proof import Proof

WIDTH = 110


@dataclasses.dataclass(frozen=True)
class Report:
    """Holds the result of an examination.

    findings: ranked, the most important first.
    checked: names of the checks that found nothing.
    not_checked: name of each check that was not possible, and why.
    about: sentences that describe the examined data and model.
    seconds: duration of the examination.
    scores: sentences about the scores of the trained model on each split; () without one.
    doubts: reasons why the program cannot be called healthy although no check found an error.
    proof: the trainings of --prove; None without.
    advice: a sentence on how to begin, and commands; () for none.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: tuple[tuple[str, str], ...]
    about: tuple[str, ...] = ()
    seconds: float = 0.0
    scores: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    proof: Proof | None = None
    advice: tuple[str, ...] = ()

    @property
    def uncertain(self) -> bool:
        """Tells whether there is no error and the program cannot be called healthy."""
        return not self.failed and (bool(self.doubts) or not (self.checked or self.findings))

    @property
    def failed(self) -> bool:
        """Tells whether there is a finding of level error."""
        return any(finding.level == ERROR for finding in self.findings)

    @property
    def verdict(self) -> str:
        """Returns the result in one sentence."""
        found = self._found()
        if self.uncertain:
            doubts = "; ".join(self.doubts) or "nothing could be checked"
            return f"Could not tell: {doubts}. {found}".strip()
        if not self.healthy:
            return found
        checks = f"Healthy: {plural(len(self.checked), 'check')}, nothing found"
        return f"{checks}, and {plural(len(self.findings), 'remark')}." if self.findings else f"{checks}."

    @property
    def healthy(self) -> bool:
        """Tells whether the doctor has nothing to say but remarks."""
        return not self.uncertain and all(finding.level == INFO for finding in self.findings)

    def _found(self) -> str:
        counts = {level: sum(f.level == level for f in self.findings) for level in LEVELS}
        parts = [plural(n, {"info": "remark"}.get(level, level)) for level, n in counts.items() if n]
        return f"Found {', '.join(parts)}." if parts else ""

    def text(self) -> str:
        """Returns the verdict, the findings in order and the checks, for a terminal."""
        lines = [*self.scores, *self.about, "", *textwrap.wrap(self.verdict, WIDTH, break_long_words=False)]
        for number, finding in enumerate(self.findings, 1):
            lines += ["", f"{number}. {finding.level.upper()} {finding.what}  [{finding.id}]"]
            if finding.place:
                lines += _wrapped("line", finding.place)
            if finding.follows:
                lines += _wrapped("why", f"This follows from [{finding.follows}]. Mend that first.")
            for name in ("evidence", "cost", "fix"):
                lines += _wrapped(name, getattr(finding, name))
        if self.proof is not None:
            lines += ["", "The remedy, tried:", *_list(self.proof.lines())]
            lines += _patch(self.proof)
        if self.advice:
            told, *commands = self.advice
            lines += ["", *textwrap.wrap(told, WIDTH, break_long_words=False), *(f"  {line}" for line in commands)]
        if self.checked:
            lines += ["", "Checked, nothing found:" if self.findings else "Checked:"]
            lines += _list(self.checked)
        if self.not_checked:
            by_reason: dict[str, list[str]] = {}
            for name, reason in self.not_checked:
                by_reason.setdefault(reason, []).append(name)
            lines += ["", "Not checked:"]
            lines += _list([f"{'; '.join(names)}: {reason}" for reason, names in by_reason.items()])
        return "\n".join(lines).strip("\n")

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of the --json file."""
        return {
            "verdict": self.verdict,
            "healthy": self.healthy,
            "could_not_tell": list(self.doubts) if self.uncertain else [],
            "scores": list(self.scores),
            "findings": [finding.to_dict() for finding in self.findings],
            "checked": list(self.checked),
            "not_checked": [{"what": name, "reason": reason} for name, reason in self.not_checked],
            "about": list(self.about),
            "seconds": round(self.seconds, 1),
            **({"advice": list(self.advice)} if self.advice else {}),
        } | ({} if self.proof is None else {"proof": self.proof.to_dict()})


def build(findings: list[Finding], **others: Any) -> Report:
    """Builds a report, with its findings ranked."""
    return Report(findings=tuple(ranked(findings)), **others)


def _patch(proof: Proof) -> list[str]:
    """Returns the change as a patch, or why there is none."""
    if proof.patch:
        return ["", "As a patch:", "", *proof.patch.rstrip("\n").split("\n")]
    return _list(["The change is no single expression of the program, so there is no patch."]) if proof.finding else []


def _wrapped(name: str, text: str) -> list[str]:
    head = f"   {name + ':':<10}"
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False)


def _list(items: Any) -> list[str]:
    lines: list[str] = []
    for item in items:
        lines += textwrap.wrap(item, WIDTH, initial_indent="   - ", subsequent_indent="     ", break_long_words=False)
    return lines
