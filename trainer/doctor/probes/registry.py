"""Lists all probes in the order in which they are called."""

from __future__ import annotations

from trainer.doctor.probes.base import Probe
from trainer.doctor.probes.data import (
    aspect_ratio,
    augmentation,
    augmentation_classes,
    augmented_targets,
    changed_values,
    class_balance,
    conflicting_labels,
    few_images,
    label_noise,
    pixel_order,
    pixel_values,
    reference_mismatch,
    sample_weights,
    shuffling,
)
from trainer.doctor.probes.model import (
    head_and_loss,
    head_range,
    input_range,
    layers,
    loss_computes,
    metrics,
    pair_labels,
    several_outputs,
)
from trainer.doctor.probes.splits import leakage, splits, target_in_inputs, train_validation_skew
from trainer.doctor.probes.training import (
    accumulated_gradients,
    arguments_of_fit,
    epoch_rates,
    finite_gradients,
    initialization,
    learning_curves,
    optimizer,
    overfit_one_batch,
    train_eval_modes,
)


def all_probes() -> tuple[Probe, ...]:
    """Returns all probes, the quick ones first.

    In this order, slow probes never use up the time of quick ones.
    """
    return (
        *pixel_values.PROBES,
        *input_range.PROBES,
        *loss_computes.PROBES,
        *head_and_loss.PROBES,
        *head_range.PROBES,
        *metrics.PROBES,
        *pair_labels.PROBES,
        *layers.PROBES,
        *optimizer.PROBES,
        *pixel_order.PROBES,
        *sample_weights.PROBES,
        *splits.PROBES,
        *class_balance.PROBES,
        *few_images.PROBES,
        *learning_curves.PROBES,
        *arguments_of_fit.PROBES,
        *epoch_rates.PROBES,
        *shuffling.PROBES,
        *changed_values.PROBES,
        *train_validation_skew.PROBES,
        *several_outputs.PROBES,
        *conflicting_labels.PROBES,
        *leakage.PROBES,
        *target_in_inputs.PROBES,
        *augmentation.PROBES,
        *augmented_targets.PROBES,
        *augmentation_classes.PROBES,
        *aspect_ratio.PROBES,
        *reference_mismatch.PROBES,
        *train_eval_modes.PROBES,
        *initialization.PROBES,
        *finite_gradients.PROBES,
        *accumulated_gradients.PROBES,
        *overfit_one_batch.PROBES,
        *label_noise.PROBES,
    )
