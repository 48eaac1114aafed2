"""A BERT encoder of few layers, written so that ONNX Runtime runs it fast on a CPU.

Two layers of 384 with 768 feed-forward units in INT8, some 25 tokens, one thread: 0.70 ms as Hugging Face exports it,
0.43 ms as written here [measured on a Xeon with AVX512-VNNI].
Three things make the difference: one product for query, key and value instead of three; ReLU instead of GELU; and
residuals that are subtracted, from weights of the other sign, because ONNX Runtime 1.32 turns a sum and a normalisation
into SkipLayerNormalization, which takes five times as long as the two.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optimization.networks.encoder import Encoder

_MASKED = -1e4
"""Added to the scores of padding, before the softmax."""


class Compact(nn.Module):
    """Token ids and their mask, of shape [batch, sequence], in; logits out.

    Ids are the tokenizer's; those the vocabulary lacks are read as its unknown token.
    """

    ids: Tensor

    def __init__(self, ids: Tensor, *, width: int, hidden: int, heads: int, layers: int, positions: int) -> None:
        super().__init__()
        self.register_buffer("ids", ids)  # row of the embedding, by the tokenizer's id
        self.words = nn.Embedding(int(ids.max()) + 1, width)
        self.positions = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(width, hidden, heads) for _ in range(layers))
        self.head = nn.Linear(width, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape [batch, 1]."""
        logits: Tensor = self.head(self.pooled(input_ids, attention_mask))
        return logits

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean over a text's tokens, of shape [batch, width]."""
        states = self.norm(self.words(self.ids[input_ids]) + self.positions.weight[: input_ids.shape[1]])
        counted = attention_mask.to(states.dtype)
        bias = ((1 - counted) * _MASKED)[:, None, None, :]
        for layer in self.layers:
            states = layer(states, bias)
        counted = counted.unsqueeze(2)
        mean: Tensor = (states * counted).sum(dim=1) / counted.sum(dim=1)
        return mean


class Layer(nn.Module):
    """Attention and a feed-forward network, each subtracted from its input and normalised."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width, eps=1e-12)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.norm_down = nn.LayerNorm(width, eps=1e-12)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """States of shape [batch, sequence, width]; the bias is added to the scores of attention."""
        batch, _, width = states.shape
        size = width // self.heads
        query, key, value = (
            each.reshape(batch, -1, self.heads, size).transpose(1, 2) for each in self.qkv(states).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(size) + bias
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, -1, width)
        states = self.norm_out(states - self.out(mixed))
        added: Tensor = self.norm_down(states - self.down(self.up(states).relu()))
        return added


def from_bert(teacher: Encoder, keep: Sequence[int], tokens: Sequence[int], unknown: int, positions: int) -> Compact:
    """The layers `keep` of a BERT classifier of two classes, with the embeddings of `tokens` and first positions alone.

    It computes nearly what those layers compute, ReLU aside, and is to be trained.
    """
    body: Any = teacher.body
    config, source = body.config, body.embeddings
    ids = torch.full((config.vocab_size,), tokens.index(unknown), dtype=torch.int32)
    ids[torch.tensor(tokens)] = torch.arange(len(tokens), dtype=torch.int32)
    student = Compact(
        ids,
        width=config.hidden_size,
        hidden=config.intermediate_size,
        heads=config.num_attention_heads,
        layers=len(keep),
        positions=positions,
    )
    with torch.no_grad():
        student.words.weight.copy_(source.word_embeddings.weight[torch.tensor(tokens)])
        first = source.position_embeddings.weight[:positions]
        student.positions.weight.copy_(first + source.token_type_embeddings.weight[0])
        student.norm.load_state_dict(source.LayerNorm.state_dict())
        student.head.load_state_dict(teacher.head.state_dict())
        for layer, index in zip(student.layers, keep, strict=True):
            assert isinstance(layer, Layer)
            _copy(layer, body.encoder.layer[index])
    return student


def _copy(layer: Layer, source: Any) -> None:
    attention = source.attention
    parts = [attention.self.query, attention.self.key, attention.self.value]
    layer.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
    layer.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
    layer.up.load_state_dict(source.intermediate.dense.state_dict())
    layer.norm_out.load_state_dict(attention.output.LayerNorm.state_dict())
    layer.norm_down.load_state_dict(source.output.LayerNorm.state_dict())
    for target, linear in ((layer.out, attention.output.dense), (layer.down, source.output.dense)):
        target.weight.copy_(-linear.weight)
        target.bias.copy_(-linear.bias)
