"""Data that Python packages carry: scikit-learn's digits and breast cancer, MNIST-1D."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.extras import require
from optimization.readers.examples import Dataset, Split
from optimization.readers.holding import cut, hold_out
from optimization.recipe.sources import BreastCancer, Digits, Mnist1d
from optimization.tasks.task import UNLABELLED


def digits(config: Digits, seed: int) -> Dataset:
    """Images of 8 x 8 pixels, which are counts in [0, 16]."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    others, held_out = hold_out(_split("pixels", pixels, classes), config.held_out, seed)
    train, validation = cut(others, config.validation, seed)
    return Dataset(
        train=_with_shifts(train) if config.shifts else train,
        validation=validation,
        held_out=held_out,
        labels=tuple("0123456789"),
        offset=np.zeros(64, np.float32),
        scale=np.full(64, 16, np.float32),
        image=(1, 8, 8),
    )


def breast_cancer(config: BreastCancer, seed: int) -> Dataset:
    """Features of tumours, brought to mean 0 and deviation 1 on the training examples."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    examples = _split("features", bunch.data[:, : config.num_features], bunch.target)
    others, held_out = hold_out(examples, config.held_out, seed)
    train, validation = cut(others, config.validation, seed)
    features = train.inputs["features"]
    return Dataset(
        train=train,
        validation=validation,
        held_out=held_out,
        labels=tuple(map(str, bunch.target_names)),
        offset=features.mean(axis=0),
        scale=features.std(axis=0),
    )


def mnist1d(config: Mnist1d, seed: int) -> Dataset:
    """Signals of 40 values, as the package makes them by default: the published benchmark, less what decides.

    Those without a label are made as the others are, and come after them.
    """
    package = require("mnist1d.data", extra="mnist1d")
    published = package.get_dataset_args()
    made = package.make_dataset(published)
    train, validation = cut(_split("signal", made["x"], made["y"]), config.validation, seed)
    if config.unlabelled:
        further = package.get_dataset_args()
        further.num_samples, further.train_split, further.seed = config.unlabelled, 1.0, published.seed + 1 + seed
        signals = np.concatenate([train.inputs["signal"], package.make_dataset(further)["x"]])
        train = _split("signal", signals, np.concatenate([train.labels, np.full(config.unlabelled, UNLABELLED)]))
    return Dataset(
        train=train,
        validation=validation,
        held_out=_split("signal", made["x_test"], made["y_test"]),
        labels=tuple("0123456789"),
        image=(1, 40),
    )


def _split(name: str, inputs: NDArray[Any], labels: NDArray[Any]) -> Split:
    return Split(inputs={name: inputs.astype(np.float32)}, labels=labels.astype(np.int64))


def _with_shifts(split: Split) -> Split:
    images = split.inputs["pixels"].reshape(-1, 8, 8)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]  # the first leaves the image where it is
    shifted = [padded[:, row : row + 8, column : column + 8].reshape(-1, 64) for row, column in corners]
    return Split(inputs={"pixels": np.concatenate(shifted)}, labels=np.tile(split.labels, len(corners)))
