"""All probes, in the order in which they are asked: the cheap ones first."""

from __future__ import annotations

from trainer.doctor import (
    against,
    aspect,
    augmentation,
    classes,
    curves,
    duplicates,
    heads,
    leaks,
    learnable,
    memorize,
    modes,
    order,
    pixels,
    scale,
    splits,
    start,
)
from trainer.doctor.probe import Probe


def all_probes() -> tuple[Probe, ...]:
    """The quick ones first, so that what takes long never costs them their time."""
    return (
        *pixels.PROBES,
        *scale.PROBES,
        *heads.PROBES,
        *classes.PROBES,
        *curves.PROBES,
        *order.PROBES,
        *splits.PROBES,
        *duplicates.PROBES,
        *leaks.PROBES,
        *augmentation.PROBES,
        *aspect.PROBES,
        *against.PROBES,
        *modes.PROBES,
        *start.PROBES,
        *memorize.PROBES,
        *learnable.PROBES,
    )
