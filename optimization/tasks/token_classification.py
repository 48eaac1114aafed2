"""Token classification: each word of a text has a class, such as the kind of name it is part of.

    words, a label each ─▶ encode: [texts, words] ─▶ readers/tokens.py: [texts, tokens], the first token of each word

What a model gives at padding is 0 in the form that is served, so that no answer depends on what it was batched with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.errors import DataError, GraphError
from optimization.tasks import by_token, losses
from optimization.tasks.by_token import PADDING
from optimization.tasks.task import UNLABELLED, SoftLoss

_LEAST = 1e-9
"""Probabilities below count as this, so that their logarithm is a number."""


@dataclass(frozen=True, kw_only=True)
class TokenClassification:
    """Labels and answers are classes of shape [texts, tokens], below 0 where a token has none; what is read are
    probabilities of shape [texts, tokens, classes]."""

    kind: Literal["token_classification"] = "token_classification"
    output: Meaning = "logits"
    is_by_token: bool = True
    classes: tuple[str, ...] = ()
    """What measures call them: of entities, `B-` and a kind begins one, `I-` goes on."""
    measures: tuple[str, ...] = ("entity_f1", "token_accuracy", "exact_match")

    def named(self, names: Sequence[str]) -> Self:
        """The task of those classes."""
        return replace(self, classes=tuple(names))

    def names(self, values: Sequence[object]) -> tuple[str, ...]:
        """All classes that a word has, in the order of their names.

        Raises:
            DataError: there is only one.
        """
        found = tuple(sorted({name for each in values for name in by_token.words(each)}))
        if len(found) < 2:
            raise DataError(f"labels of words must name at least 2 classes, got {list(found)}")
        return found

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:
        """The class of each word, given as a list, or as one text with spaces between them: [texts, words].

        Raises:
            DataError: no training example has it.
        """
        numbers = {name: number for number, name in enumerate(names)}
        rows = [by_token.words(each) for each in values]
        found = np.full((len(rows), max(map(len, rows), default=0)), UNLABELLED, np.int64)
        for row, each in enumerate(rows):
            for place, name in enumerate(each):
                if name not in numbers:
                    rule = f"labels of words must be among {list(names)}, which training examples have"
                    raise DataError(f"{rule}, got {name!r} in row {row}")
                found[row, place] = numbers[name]
        return found

    def num_outputs(self, num_labels: int) -> int:
        """One logit per class, for each token."""
        return num_labels

    def output_name(self, num_outputs: int) -> str:  # noqa: ARG002
        """Whatever their number."""
        return "logits"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, averaged over the labelled tokens of each text."""
        labels = labels[:, : logits.shape[1]].clamp_min(UNLABELLED)
        found = F.cross_entropy(logits.mT, labels, reduction="none", ignore_index=UNLABELLED)
        return by_token.mean(found, labels != UNLABELLED)

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:
        """Softened KL divergence or squared difference, averaged over all tokens of each text but padding."""
        num = logits.shape[1]
        own, taught = (each.reshape(-1, each.shape[-1]) for each in (logits, teacher[:, :num]))
        found = losses.apart(own, taught, temperature, kind).view(logits.shape[:2])
        return by_token.mean(found, labels[:, :num] != PADDING)

    def served(self, model: nn.Module) -> nn.Module:
        """The logits of each token, 0 at padding."""
        return by_token.Unpadded(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """Probabilities; at padding, where all logits are 0, all classes are alike.

        Raises:
            GraphError: the output is neither logits nor probabilities.
        """
        if output == "probabilities":
            return outputs
        if output != "logits":
            raise GraphError(f"an output of token classes must be logits or probabilities, got {output}")
        return torch.softmax(torch.from_numpy(outputs), dim=-1).numpy()

    def answers(self, read: NDArray[np.float32]) -> NDArray[np.int64]:
        """The likeliest class of each token."""
        return np.asarray(read.argmax(axis=-1), np.int64)

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """Their probabilities."""
        return read

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of each text the classes of its words by name, and those answered or all scores of each: lists."""
        labels, found = by_token.alike(labels, found)
        names = np.array(self.classes, object)
        counts = labels >= 0
        return _lists(names[labels], counts), _lists(names[found] if found.ndim == 2 else found, counts)

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:
        """All of the probability on each token's label."""
        return np.asarray(np.eye(num_outputs)[labels] * (labels >= 0)[..., np.newaxis], np.float32)

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each labelled token."""
        labels, answers = by_token.alike(labels, answers)
        counts = labels >= 0
        return labels[counts], answers[counts]

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where all labelled tokens of a text have their class."""
        labels, answers = by_token.alike(labels, answers)
        return np.asarray(((labels == answers) | (labels < 0)).all(axis=1))

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where a token of the text has another class."""
        return np.asarray((self.answers(one) != self.answers(other)).any(axis=1))

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """KL(one || other) of each token, summed, in nats; padding adds nothing."""
        p, q = (each.astype(np.float64).clip(_LEAST) for each in (one, other))
        return np.asarray((p * np.log(p / q) - p + q).sum(axis=(1, 2)))


def _lists(of_tokens: NDArray[Any], counts: NDArray[np.bool_]) -> NDArray[np.object_]:
    """One list for each text, of the tokens that count."""
    found = np.empty(len(of_tokens), object)
    found[:] = [row[counted].tolist() for row, counted in zip(of_tokens, counts, strict=True)]
    return found
