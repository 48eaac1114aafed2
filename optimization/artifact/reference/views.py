"""Rows of tensors as named numbers, one of each for a row: what a person would watch, and random projections.

    columns   each number of a small input            x[3]
    pictures  brightness, contrast                    image.brightness
    texts     length, unknown tokens, characters      text.length
    answers   class, confidence, values, labels        class, confidence
    anything larger, and the logits: 16 random directions, since two distributions that differ differ along almost all
    of them (Cramer & Wold 1936; sliced two-sample tests)                                       image.projection0

The same numbers are taken when an artifact is published and when it is served.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.artifact import cascade
from optimization.artifact.manifest import Meaning, TaskKind, TensorSpec
from optimization.artifact.reference.vocabulary import Vocabulary

NUM_PROJECTIONS = 16
MOST_COLUMNS = 64
"""Numbers of an input that are watched one by one; a larger one by its mean, its spread and projections."""
MOST_CLASSES = 40
"""Classes whose shares are watched; of more, the projections tell."""
MOST_RUNS = 1024
"""A larger input is averaged over so many runs of its numbers before it is projected."""
TOKENS = "input_ids"

Columns = dict[str, NDArray[np.float64]]


class Views:
    """How the rows of one model are looked at."""

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        task: TaskKind | None = None,
        vocabulary: Vocabulary | None = None,
        seed: int = 0,
    ) -> None:
        """`task` is what the model is for; `vocabulary` is that of a model of texts; `seed` that of the projections."""
        self.seed = seed
        self._one_class = task != "multi_label"
        self._inputs = tuple(inputs)
        self._first = outputs[0]
        self._vocabulary = vocabulary
        self._directions: dict[tuple[str, int], NDArray[np.float64]] = {}
        width = self._first.shape[1] if len(self._first.shape) == 2 else 0
        has_classes = self._one_class and self._first.meaning in ("logits", "probabilities")
        classes = max(2, width) if has_classes and isinstance(width, int) and width else 0
        self.num_classes = classes if classes <= MOST_CLASSES else 0
        """Whose shares are watched; 0 where there are none, or too many."""

    def inputs(self, tensors: Mapping[str, NDArray[Any]]) -> Columns:
        """Numbers of what the model is asked, each of shape [rows]."""
        if self._vocabulary is not None and TOKENS in tensors:
            return self._texts(self._vocabulary, tensors)
        found: Columns = {}
        for spec in self._inputs:
            values = tensors.get(spec.name)
            if values is not None and values.dtype.kind in "fiub":
                found |= self._tensor(spec, values)
        return found

    def outputs(self, outputs: Mapping[str, NDArray[Any]]) -> Columns:
        """Numbers of what the model answers, each of shape [rows]."""
        name, meaning = self._first.name, self._first.meaning
        values = outputs[name]
        if values.dtype.kind not in "fiub":
            return {}
        if meaning == "logits" and values.ndim == 3:
            return self._tokens(values)
        if meaning not in ("logits", "probabilities") or values.ndim != 2:
            return self._tensor(self._first, values)
        if not self._one_class:
            likely = values > (0.5 if meaning == "probabilities" else 0.0)
            return self._tensor(self._first, values) | {"labels": likely.sum(axis=1).astype(np.float64)}
        return self._classes(values, meaning)

    def _classes(self, values: NDArray[Any], meaning: Meaning) -> Columns:
        logits = cascade.logits(values, "logits" if meaning == "logits" else "probabilities")
        binary = logits.shape[1] == 1
        answer = (logits[:, 0] > 0) if binary else logits.argmax(axis=1)
        found: Columns = {"class": answer.astype(np.float64)} if self.num_classes else {}
        found["confidence"] = cascade.confidence(logits, 1.0)
        if binary:
            return found | {"logit": logits[:, 0]}
        centred = logits - logits.mean(axis=1, keepdims=True)
        return found | self._projected("logits", np.clip(centred, -50, 50))

    def _tokens(self, values: NDArray[Any]) -> Columns:
        """Means over the tokens of each row; those whose logits are all 0 are padding, which batches differ in."""
        counts = values.any(axis=2)
        num = np.maximum(counts.sum(axis=1), 1)
        of_tokens = self._classes(values.reshape(-1, values.shape[2]), "logits")
        per_row = {name: column.reshape(counts.shape) for name, column in of_tokens.items() if name != "class"}
        return {name: (column * counts).sum(axis=1) / num for name, column in per_row.items()}

    def _tensor(self, spec: TensorSpec, values: NDArray[Any]) -> Columns:
        name, numbers = spec.name, values.reshape(len(values), -1).astype(np.float64)
        varies = any(isinstance(size, str) for size in spec.shape[1:])
        found: Columns = {f"{name}.length": np.full(len(values), float(numbers.shape[1]))} if varies else {}
        if values.ndim == 4:
            names = ("brightness", "contrast")
        elif varies or numbers.shape[1] > MOST_COLUMNS:
            names = ("mean", "spread")
        else:
            return {name if numbers.shape[1] == 1 else f"{name}[{at}]": column for at, column in enumerate(numbers.T)}
        if not numbers.shape[1]:
            return found
        found |= {f"{name}.{names[0]}": numbers.mean(axis=1), f"{name}.{names[1]}": numbers.std(axis=1)}
        return found if varies else found | self._projected(name, _averaged(numbers))

    def _texts(self, vocabulary: Vocabulary, tensors: Mapping[str, NDArray[Any]]) -> Columns:
        tokens = tensors[TOKENS]
        mask = tensors.get("attention_mask", np.ones_like(tokens)).astype(np.float64)
        found = {f"text.{name}": column for name, column in vocabulary.statistics(tokens, mask).items()}
        directions = self._along("text", vocabulary.size)
        known = np.clip(tokens, 0, vocabulary.size - 1)
        length = np.maximum(mask.sum(axis=1, keepdims=True), 1.0)
        bags = (directions[known] * mask[..., None]).sum(axis=1) / np.sqrt(length)
        return found | {f"text.projection{at}": column for at, column in enumerate(bags.T)}

    def _projected(self, name: str, numbers: NDArray[np.float64]) -> Columns:
        along = numbers @ self._along(name, numbers.shape[1]) / np.sqrt(numbers.shape[1])
        return {f"{name}.projection{at}": column for at, column in enumerate(along.T)}

    def _along(self, name: str, width: int) -> NDArray[np.float64]:
        """Random directions, the same for one seed, name and width: [width, projections]."""
        if (name, width) not in self._directions:
            random = np.random.default_rng([self.seed, zlib.crc32(name.encode()), width])
            self._directions[name, width] = random.normal(size=(width, NUM_PROJECTIONS))
        return self._directions[name, width]


def _averaged(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most `MOST_RUNS` means of neighbouring numbers of each row."""
    width = numbers.shape[1]
    if width <= MOST_RUNS:
        return numbers
    starts = np.linspace(0, width, MOST_RUNS, endpoint=False).astype(np.int64)
    sizes = np.diff(np.append(starts, width))
    means: NDArray[np.float64] = np.add.reduceat(numbers, starts, axis=1) / sizes
    return means
