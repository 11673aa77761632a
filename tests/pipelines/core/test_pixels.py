"""Channels one below another, and back."""

import numpy as np

from pipelines.core import pixels


def test_channels_are_stacked_and_unstacked():
    image = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)  # two rows, three columns, four bands
    stacked = pixels.stacked(image)
    assert stacked.shape == (8, 3, 1)
    assert stacked[:, :, 0].tolist() == [row.tolist() for band in range(4) for row in image[:, :, band]]
    np.testing.assert_array_equal(pixels.unstacked(stacked, 4), image)
