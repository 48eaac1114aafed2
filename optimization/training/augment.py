"""Moves and mirrors training pictures at random, the same way whatever the number of workers."""

import numpy as np
from numpy.typing import NDArray

from optimization.chance import generator
from optimization.readers.examples import Augmentation, Inputs


def augment(batch: Inputs, rows: NDArray[np.int64], how: Augmentation, seed: int, epoch: int) -> Inputs:
    """The batch's pictures, of shape [rows, channels, height, width], moved by a few pixels and mirrored.

    What is done to a picture depends on its row, the seed and the epoch alone.
    """
    return {
        name: _augmented(values, rows, how, seed, epoch) if values.ndim == 4 else values
        for name, values in batch.items()
    }


def _augmented(
    pictures: NDArray[np.float32], rows: NDArray[np.int64], how: Augmentation, seed: int, epoch: int
) -> NDArray[np.float32]:
    height, width = pictures.shape[2:]
    padded = np.pad(pictures, ((0, 0), (0, 0), (how.shift, how.shift), (how.shift, how.shift)))
    changed = np.empty_like(pictures)
    for number, row in enumerate(rows):
        top, left, mirrored = generator(seed, "augment", epoch, int(row)).integers(0, (*(2 * how.shift + 1,) * 2, 2))
        cut = padded[number, :, top : top + height, left : left + width]
        changed[number] = cut[:, :, ::-1] if how.flip and mirrored else cut
    return changed
