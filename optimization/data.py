"""Loads what a recipe's `data` names: inputs as they come in service, labels, and how to scale them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.recipe import BreastCancer, Digits


@dataclass(frozen=True, kw_only=True)
class Split:
    """Examples: inputs of shape [samples, features], labels of shape [samples]."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Training and held-out examples, and what a model of them needs to know."""

    train: Split
    held_out: Split
    input_name: str
    """Name of the model's input tensor."""
    labels: tuple[str, ...]
    """Names of the classes."""
    offset: NDArray[np.float32]
    """Subtracted from the inputs, of shape [features]; then they are divided by `scale`."""
    scale: NDArray[np.float32]
    """Of shape [features]."""
    side: int | None
    """Pixels along one side of the image; none where a sample is no image."""

    @property
    def num_features(self) -> int:
        """Numbers in one sample."""
        return int(self.train.inputs.shape[1])

    @property
    def num_outputs(self) -> int:
        """Logits per sample: one for two classes, else one per class."""
        return 1 if len(self.labels) == 2 else len(self.labels)


def load(config: Digits | BreastCancer, seed: int) -> Dataset:
    """Load and split the data; equal seeds give equal splits, with the classes in equal proportion."""
    match config:
        case Digits():
            return _digits(config, seed)
        case BreastCancer():
            return _breast_cancer(config, seed)


def _digits(config: Digits, seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    train, held_out = _split(pixels, digits, config.held_out, seed)
    return Dataset(
        train=_with_shifts(train) if config.shifts else train,
        held_out=held_out,
        input_name="pixels",
        labels=tuple("0123456789"),
        offset=np.zeros(64, np.float32),
        scale=np.full(64, 16, np.float32),  # pixels are counts in [0, 16]
        side=config.side,
    )


def _breast_cancer(config: BreastCancer, seed: int) -> Dataset:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    train, held_out = _split(bunch.data[:, : config.num_features], bunch.target, config.held_out, seed)
    return Dataset(
        train=train,
        held_out=held_out,
        input_name="features",
        labels=tuple(map(str, bunch.target_names)),
        offset=train.inputs.mean(axis=0),
        scale=train.inputs.std(axis=0),
        side=config.side,
    )


def _split(inputs: NDArray[Any], labels: NDArray[Any], held_out: float, seed: int) -> tuple[Split, Split]:
    from sklearn.model_selection import train_test_split

    chosen = train_test_split(np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=seed)
    train, held = (
        Split(inputs=inputs[rows].astype(np.float32), labels=labels[rows].astype(np.int64)) for rows in chosen
    )
    return train, held


def _with_shifts(split: Split) -> Split:
    images = split.inputs.reshape(-1, 8, 8)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]  # the first leaves the image where it is
    shifted = [padded[:, row : row + 8, column : column + 8].reshape(-1, 64) for row, column in corners]
    return Split(inputs=np.concatenate(shifted), labels=np.tile(split.labels, len(corners)))
