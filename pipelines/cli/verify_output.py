"""Formats what `verify` prints: the findings, and how much was checked.

At most MOST_LINES findings are printed.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence

from pipelines import contract as contracts
from pipelines import storage
from pipelines.core import text
from pipelines.dataset.source_changes import Drift

MOST_LINES = 100


def texts(directory: str, problems: Sequence[str], drift: Drift | None) -> tuple[list[str], str]:
    """Returns the lines for standard output, and a closing sentence.

    The sentence is empty where nothing was found.
    """
    lines = [text.printable(problem) for problem in problems]
    summary = []
    if problems:
        summary.append(f"{directory} is not intact: {text.plural(len(problems), 'problem')}.")
    if drift is not None:
        lines += [text.printable(f"{c.kind}: {c.input} ({c.detail})") for c in drift.changes]
        if drift.changes:
            kinds = collections.Counter(change.kind for change in drift.changes)
            summary.append(f"The inputs have changed since: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}.")
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"and {len(lines) - MOST_LINES:,} more: --json prints all."]
    return [*lines, *_checked(directory, not problems, drift)], " ".join(summary)


def _checked(directory: str, whole: bool, drift: Drift | None) -> list[str]:
    contract = contracts.load(directory, storage.reading_text)
    shards = [shard for split in contract.all_splits.values() for shard in split.shards]
    records = text.plural(sum(shard.records for shard in shards), "record")
    what = f"{records} in {text.plural(len(shards), 'shard')} ({text.byte_size(sum(s.bytes for s in shards))})"
    files = f" and {text.plural(len(contract.files), 'other file')}" if contract.files else ""
    lines = [f"Intact: {what}{files} agree with the contract." if whole else f"Checked {what}{files}."]
    if whole and not contract.files:
        lines.append(
            "The contract is of an older version, which does not list the other files. Only those were checked that "
            "follow from the contract."
        )
    if drift is not None:
        compared = text.plural(drift.compared - drift.not_comparable, "input")
        unread = text.plural(drift.not_comparable, "input")
        rest = f" {unread} could not be read, so no comparison was possible." if drift.not_comparable else ""
        lines.append(f"Compared {compared} with what the dataset was made of: {_outcome(drift)}.{rest}")
    return lines


def _outcome(drift: Drift) -> str:
    return text.plural(len(drift.changes), "change") if drift.changes else "all have the same SHA-256"


def as_json(problems: Sequence[str], drift: Drift | None) -> str:
    """Writes everything as one JSON object.

    It has `problems`, and with --source also `changes`, `compared` and `not_comparable`.
    """
    data: dict[str, object] = {"problems": list(problems)}
    if drift is not None:
        data |= {**drift._asdict(), "changes": [change._asdict() for change in drift.changes]}
    return json.dumps(data, indent=2, ensure_ascii=True)
