"""Lists the kinds of tasks by name."""

from __future__ import annotations

from pipelines.tasks.classes import OneClass
from pipelines.tasks.kind import Kind
from pipelines.tasks.multi_label import MultiLabel
from pipelines.tasks.regression import Regression

ONE_CLASS = OneClass()
KINDS: dict[str, Kind] = {kind.name: kind for kind in (ONE_CLASS, MultiLabel(), Regression())}
