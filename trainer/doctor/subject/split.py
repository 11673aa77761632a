"""One split of what the doctor looks at: train or validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainer.doctor.subject.sample import Sample


@dataclasses.dataclass(frozen=True)
class Split:
    """name: train or validation.

    sample: the first batches of a pass.
    second: the first batches of another pass, fewer; None where there is nothing to pass over (a folder).
    dataset: to be iterated again by probes that need more; batches of (x, y) or (x, y, weight). None for a folder.
    counts: images of each class over the whole split where that is known without reading it: from a contract or folder.
    """

    name: str
    sample: Sample
    second: Sample | None = None
    dataset: Any = None
    counts: Mapping[str, int] | None = None
