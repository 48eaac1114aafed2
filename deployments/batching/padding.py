"""Sequences of unequal length in one batch: zeros at the end of the shorter ones, which the attention mask hides.

A model may be padded if it has an input `attention_mask`: by it, it says that what is masked does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.oip.tensors import Array
from optimization.artifact.manifest import TensorSpec

MASK = "attention_mask"
WASTE = 1.25
"""Sequences share a batch if the longest has at most this many times the tokens of the shortest."""
SHORT = 16
"""Below so many tokens, padding costs less than a call of its own."""


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Which tensors have the dimension that is padded; it is their second."""

    inputs: frozenset[str]
    outputs: frozenset[str]

    def length(self, inputs: Mapping[str, Array]) -> int:
        """Tokens of the longest sequence in `inputs`; for raw text a guess from its bytes."""
        if MASK in inputs:
            return int(inputs[MASK].shape[1])
        texts = (text for array in inputs.values() if array.dtype == object for text in array.flat)
        return max(1, max((len(text) for text in texts), default=0) // 4)

    def is_exact(self, inputs: Mapping[str, Array]) -> bool:
        """Whether outputs can be cut to the length of `inputs`: of raw text, the number of tokens is not known."""
        return not self.outputs or MASK in inputs

    def stack(self, name: str, arrays: Sequence[Array]) -> Array:
        """One batch of the input `name`."""
        if name not in self.inputs:
            return np.concatenate(arrays)
        longest = max(array.shape[1] for array in arrays)
        batch = np.zeros((sum(map(len, arrays)), longest, *arrays[0].shape[2:]), arrays[0].dtype)
        at = 0
        for array in arrays:
            batch[at : at + len(array), : array.shape[1]] = array
            at += len(array)
        return batch

    def cut(self, name: str, rows: Array, length: int) -> Array:
        """The rows of the output `name` as they are without padding."""
        return rows[:, :length] if name in self.outputs else rows


def alike(length: int, other: int) -> bool:
    """Whether two sequences may share a batch without much waste."""
    longer = max(length, other)
    return longer <= SHORT or longer <= WASTE * min(length, other)


def padding_for(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Padding | None:
    """How to pad a model of these tensors, or none where it has no attention mask of free length."""
    mask = next((spec for spec in inputs if spec.name == MASK), None)
    if mask is None or len(mask.shape) != 2 or not all(isinstance(size, str) for size in mask.shape):
        return None
    length = mask.shape[1]

    def padded(specs: Sequence[TensorSpec]) -> frozenset[str]:
        return frozenset(spec.name for spec in specs if spec.shape[1:2] == (length,))

    return Padding(inputs=padded(inputs), outputs=padded(outputs))
