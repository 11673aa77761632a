"""Builds `cnn` with half and with double the filters of each layer.

`variants` refers to these functions by name.
"""

from __future__ import annotations

import keras

from pipelines.contract import Contract
from trainer.models import networks


def half(contract: Contract) -> keras.Model:
    """Builds `cnn` with half the filters, for the images and classes of a dataset."""
    return networks.small_cnn(contract.image_shape, len(contract.labels), width=0.5)


def double(contract: Contract) -> keras.Model:
    """Builds `cnn` with double the filters, for the images and classes of a dataset."""
    return networks.small_cnn(contract.image_shape, len(contract.labels), width=2.0)
