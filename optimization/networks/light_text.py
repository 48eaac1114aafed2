"""Text classifiers without attention; they look up what their teacher's embeddings say of a token.

teacher's embeddings ─▶ fewer tokens, fewer numbers ─▶ Tokens ─▶ TextCnn │ BagOfNgrams ─▶ logits

Padding counts nothing: a text's logits are the same whatever it is batched with.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from torch import Tensor, nn

from optimization.errors import RecipeError
from optimization.networks import fewer_tokens, models
from optimization.networks.encoder import Encoder
from optimization.readers.examples import Dataset, Split
from optimization.recipe.architectures import BagOfNgrams as BagSettings
from optimization.recipe.architectures import TextCnn as CnnSettings

_FACTOR = 1_000_003
"""Spreads the hashes of n-grams; a prime."""
_NEVER_LARGEST = 1e4
"""Taken from padding, so that it is no channel's largest value."""


class Tokens(nn.Module):
    """Token ids of shape [batch, sequence] in; embeddings out."""

    rows: Tensor | None
    """Row of the embedding by token, where not every token has one of its own."""

    def __init__(self, table: Tensor, rows: Tensor | None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(table.shape[0], table.shape[1], _weight=table)
        self.register_buffer("rows", rows)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embeddings of shape [batch, sequence, dim]."""
        embeddings: Tensor = self.embedding(input_ids if self.rows is None else self.rows[input_ids])
        return embeddings


class TextCnn(nn.Module):
    """Gated convolutions over tokens; each channel's largest value and its mean over the text tell the class."""

    def __init__(self, tokens: Tokens, config: CnnSettings, num_outputs: int) -> None:
        super().__init__()
        widths = (config.dim, *(config.channels,) * config.layers)
        self.tokens = tokens
        self.dropout = nn.Dropout(config.dropout)
        self.convolutions = nn.ModuleList(Gated(*each, config.kernel) for each in pairwise(widths))
        self.last = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.channels, num_outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape [batch, outputs]."""
        seen = attention_mask.to(torch.float32).unsqueeze(2)
        states = self.dropout(self.tokens(input_ids)) * seen
        for number, convolution in enumerate(self.convolutions):
            found = convolution(states) * seen
            states = states + found if number else found
        largest = (states - (1 - seen) * _NEVER_LARGEST).amax(dim=1)
        pooled = torch.cat([states.sum(dim=1) / seen.sum(dim=1), largest], dim=1)
        logits: Tensor = self.head(self.last(pooled))
        return logits


class Gated(nn.Module):
    """A convolution over neighbours, times a gate that sees the same.

    It is written as a product of neighbours side by side, which ONNX Runtime computes in INT8; of convolutions it does
    not.
    """

    def __init__(self, inner: int, outer: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.value = nn.Linear(kernel * inner, outer)
        self.gate = nn.Linear(kernel * inner, outer)

    def forward(self, states: Tensor) -> Tensor:
        """From [batch, sequence, inner] to [batch, sequence, outer]."""
        length, before = states.shape[1], self.kernel // 2
        padded = F.pad(states, (0, 0, before, before))
        window = torch.cat([padded[:, start : start + length] for start in range(self.kernel)], dim=2)
        values: Tensor = self.value(window) * torch.sigmoid(self.gate(window))
        return values


class BagOfNgrams(nn.Module):
    """The mean over the embeddings of a text's tokens and n-grams, and one layer that tells the class."""

    def __init__(self, tokens: Tokens, config: BagSettings, num_outputs: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.longest = config.longest
        self.ngrams = nn.Embedding(config.buckets, config.dim, _weight=torch.zeros(config.buckets, config.dim))
        self.last = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.dim, num_outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape [batch, outputs]."""
        seen = attention_mask.to(torch.float32)
        total, count = (self.tokens(input_ids) * seen.unsqueeze(2)).sum(dim=1), seen.sum(dim=1, keepdim=True)
        for hashes, whole in self._hashed(input_ids, seen):
            total = total + (self.ngrams(hashes) * whole.unsqueeze(2)).sum(dim=1)
            count = count + whole.sum(dim=1, keepdim=True)
        logits: Tensor = self.head(self.last(total / count))
        return logits

    def _hashed(self, input_ids: Tensor, seen: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each order, the bucket of the n-gram that begins at each token, and 1 where all of it lies in the text."""
        hashes, whole, length = input_ids, seen, input_ids.shape[1]
        for further in range(1, self.longest):
            following = F.pad(input_ids, (0, further))[:, further : further + length]
            whole = whole * F.pad(seen, (0, further))[:, further : further + length]
            hashes = (hashes * _FACTOR + following) % self.ngrams.num_embeddings
            yield hashes, whole


def build(config: CnnSettings | BagSettings, teacher: nn.Module, dataset: Dataset, seed: int) -> nn.Module:
    """The student with its teacher's embeddings and the rest at random; equal seeds give equal weights.

    Raises:
        RecipeError: the teacher has no embeddings of tokens, or narrower ones.
        DataError: the student does not fit the data.
    """
    whole = _embeddings(teacher)
    if config.dim > whole.shape[1]:
        rule = f"distill.student.dim must be at most the teacher's {whole.shape[1]}"
        raise RecipeError(f"{rule}, whose embeddings are taken, got {config.dim}")
    rows, kept = None, torch.arange(len(whole))
    if config.vocabulary is not None:
        kept, rows = fewer_tokens.choose(whole, dataset.train.inputs["input_ids"], config.vocabulary)
    tokens = Tokens(narrowed(whole, dataset.train, config.dim)[kept].clone(), rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = TextCnn if isinstance(config, CnnSettings) else BagOfNgrams
        student = kind(tokens, config, dataset.num_outputs)  # type: ignore[arg-type]  # each takes its own settings
    models.check(student, dataset)
    return student


def narrowed(embeddings: Tensor, data: Split, dim: int) -> Tensor:
    """Embeddings [tokens, dim] in the directions in which those of the data's tokens are largest, their mean square 1.

    That is a singular value decomposition of the table, each token weighed by how often it comes.
    """
    ids, mask = (data.inputs[name].ravel() for name in ("input_ids", "attention_mask"))
    counts = torch.from_numpy(np.bincount(ids, weights=mask, minlength=len(embeddings))).to(torch.float32)
    weighed = embeddings * (counts / counts.sum()).unsqueeze(1)
    squares, directions = torch.linalg.eigh(embeddings.T @ weighed)  # ascending
    scale = squares[-dim:].mean().sqrt().clamp_min(1e-12)
    found: Tensor = embeddings @ directions[:, -dim:].flip(1) / scale
    return found


def _embeddings(teacher: nn.Module) -> Tensor:
    """The teacher's table of tokens, of shape [tokens, width]."""
    if isinstance(teacher, Encoder):
        try:
            found = teacher.body.get_input_embeddings()
        except NotImplementedError:  # transformers' answer where ids are hashed, and no table is theirs alone
            found = None
    else:
        tables = [module for module in teacher.modules() if isinstance(module, nn.Embedding)]
        found = max(tables, key=lambda table: table.num_embeddings, default=None)
    if not isinstance(found, nn.Embedding):
        raise RecipeError("distill.student takes its teacher's embeddings of tokens, got a teacher that has none")
    return found.weight.detach()
