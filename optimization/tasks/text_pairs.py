"""Text pairs: a text is answered with a text, word by word. What INT8 is judged by is the next word's distribution."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning
from optimization.sequences.models import Seq2Seq, Step
from optimization.tasks import losses
from optimization.tasks.classification import Classification
from optimization.tasks.task import UNLABELLED, SoftLoss

_NEXT_WORD = Classification()


@dataclass(frozen=True, kw_only=True)
class TextPairs:
    """A text for a text: logits are of shape [batch, words, vocabulary] in training, of a served step without words."""

    kind: Literal["text_pairs"] = "text_pairs"
    output: Meaning = "logits"

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, averaged over the words of each text."""
        words = F.cross_entropy(logits.mT, labels[:, : logits.shape[1]], reduction="none", ignore_index=UNLABELLED)
        return _over_words(words, labels)

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:
        """Softened KL divergence or squared difference, averaged over the words of each text."""
        own, taught = (each.reshape(-1, each.shape[-1]) for each in (logits, teacher))
        return _over_words(losses.apart(own, taught, temperature, kind).view(logits.shape[:2]), labels)

    def served(self, model: nn.Module) -> nn.Module:
        """One step of writing."""
        assert isinstance(model, Seq2Seq), "no other model writes"
        return Step(model)

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """Probabilities of the next word, of shape [samples, vocabulary]."""
        return _NEXT_WORD.read(outputs, output)

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the text is its reference, spaces around it aside."""
        return np.array([one.strip() == other.strip() for one, other in zip(answers, labels, strict=True)], np.bool_)

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the next word is another."""
        return _NEXT_WORD.changed(one, other)

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """KL divergence of the next word's distributions, in nats."""
        return _NEXT_WORD.divergence(one, other)


def _over_words(found: Tensor, labels: Tensor) -> Tensor:
    """Mean over the words of each text, of shape [batch]; what lies behind its end does not count."""
    counts = labels[:, : found.shape[1]] != UNLABELLED
    return (found * counts).sum(dim=1) / counts.sum(dim=1)
