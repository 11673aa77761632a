"""All probes, in the order in which they are asked: the cheap ones first."""

from __future__ import annotations

from trainer.doctor.probes import aspect_ratio as aspect
from trainer.doctor.probes import augmentation
from trainer.doctor.probes import class_balance as classes
from trainer.doctor.probes import conflicting_labels as duplicates
from trainer.doctor.probes import head_and_loss as heads
from trainer.doctor.probes import initialization as start
from trainer.doctor.probes import input_range as scale
from trainer.doctor.probes import label_noise as learnable
from trainer.doctor.probes import leakage as leaks
from trainer.doctor.probes import learning_curves as curves
from trainer.doctor.probes import overfit_one_batch as memorize
from trainer.doctor.probes import pixel_values as pixels
from trainer.doctor.probes import reference_mismatch as against
from trainer.doctor.probes import shuffling as order
from trainer.doctor.probes import train_eval_modes as modes
from trainer.doctor.probes import train_validation_skew as splits
from trainer.doctor.probes.base import Probe


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
