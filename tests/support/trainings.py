"""Leaves out what takes most of a tiny training and is no part of a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from trainer.serving.export_check import Parity
from trainer.training import finalize


@contextlib.contextmanager
def without_reports(export: bool = True, page: bool = False) -> Iterator[None]:
    """Has trainings write no plots and no summary for TensorBoard.

    Without `page` they write no page and no predictions either, and without `export` no export.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalize.plots, "write_all", lambda *_: None)
        patch.setattr(finalize.tensorboard, "write", lambda *_: None)
        if not page:
            patch.setattr(finalize, "write_page", lambda *_: None)
        if not export:
            patch.setattr(finalize.export, "write", lambda *_: Parity(0.0, 0.0, 0, 0, 0.0))
        yield
