"""Attention: where a model's heads are, and a form of torch's attention that can have fewer of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from torch import Tensor, nn

_NUM_HEADS = ("num_attention_heads", "num_heads", "n_heads", "heads")
"""What architectures call the number of heads."""
_WIDTHS = ("all_head_size", "dim")
"""What they call the width of all heads together, where they keep it."""


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Layers of one attention block, by name."""

    name: str
    num_heads: int
    head_size: int
    inputs: tuple[str, str, str]
    """Query, key and value."""
    output: str


class SlimAttention(nn.Module):
    """`nn.MultiheadAttention` with a layer for each projection, so that heads can be cut; called the same way.

    `nn.MultiheadAttention` needs as many heads as fill its width. Attention weights are not returned.
    """

    in_proj_bias = None
    """Tells `nn.TransformerEncoderLayer` to call this module and not its fused kernel."""
    _qkv_same_embed_dim = False

    def __init__(self, width: int, *, num_heads: int, head_size: int, dropout: float, bias: bool, batch_first: bool):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.query, self.key, self.value = (nn.Linear(width, num_heads * head_size, bias) for _ in range(3))
        self.out_proj = nn.Linear(num_heads * head_size, width, bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attention of shape [batch, positions, width], or with the first two swapped as `batch_first` says."""
        assert not need_weights or average_attn_weights, "attention weights are not kept"
        if not self.batch_first:
            query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        batch, num_queries, _ = query.shape
        bias = self._bias(attn_mask, key_padding_mask, query, key.shape[1])
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
            attn_mask=bias,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=is_causal and bias is None,
        )
        output: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, num_queries, -1))
        return (output if self.batch_first else output.transpose(0, 1)), None

    def _split(self, projected: Tensor) -> Tensor:
        """[batch, positions, heads * size] to [batch, heads, positions, size]."""
        return projected.view(*projected.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _bias(self, mask: Tensor | None, padding: Tensor | None, like: Tensor, num_keys: int) -> Tensor | None:
        """Both masks as one tensor to add to the attention's logits, of shape [batch, 1 or heads, queries, keys]."""
        if mask is None and padding is None:
            return None
        bias = torch.zeros(like.shape[0], 1, like.shape[1], num_keys, dtype=like.dtype, device=like.device)
        if mask is not None:
            mask = mask if mask.dim() == 2 else mask.view(like.shape[0], -1, *mask.shape[1:])
            bias = bias + _additive(mask, like)
        return bias if padding is None else bias + _additive(padding, like)[:, None, None, :]


def slim(model: nn.Module, name: str) -> None:
    """Put the same attention with a layer for each projection in the place of the one named `name`."""
    attention = model.get_submodule(name)
    assert isinstance(attention, nn.MultiheadAttention) and can_slim(attention)
    slimmed = SlimAttention(
        attention.embed_dim,
        num_heads=attention.num_heads,
        head_size=attention.head_dim,
        dropout=attention.dropout,
        bias=attention.in_proj_bias is not None,
        batch_first=attention.batch_first,
    )
    with torch.no_grad():
        layers = (slimmed.query, slimmed.key, slimmed.value)
        for layer, weight in zip(layers, attention.in_proj_weight.chunk(3), strict=True):
            layer.weight.copy_(weight)
        if attention.in_proj_bias is not None:
            for layer, bias in zip(layers, attention.in_proj_bias.chunk(3), strict=True):
                layer.bias.copy_(bias)
    slimmed.out_proj.load_state_dict(attention.out_proj.state_dict())
    model.set_submodule(name, slimmed.train(attention.training))
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # it would reach for the weights of torch's own attention


def can_slim(module: nn.Module) -> bool:
    """Whether `module` is torch's attention in a form that `slim` keeps exactly."""
    return (
        isinstance(module, nn.MultiheadAttention)
        and module._qkv_same_embed_dim
        and module.bias_k is None
        and not module.add_zero_attn
    )


def find(model: nn.Module) -> list[Attention]:
    """Attention blocks with three projections of one width and a number of heads, as in BERT, DistilBERT and ViT.

    The output projection is the next fully connected layer in the order the model registers them.
    """
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    found = []
    for name, module in model.named_modules():
        num_heads = count(module)
        own = [f"{name}.{child}" for child, layer in module.named_children() if isinstance(layer, nn.Linear)]
        if num_heads is None or len(own) < 3:
            continue
        inputs = own[:3]
        after = linears[linears.index(inputs[2]) + 1 :][:1]
        widths = {_linear(model, each).out_features for each in inputs}
        if len(widths) == 1 and after and _linear(model, after[0]).in_features == (width := widths.pop()):
            found.append(
                Attention(
                    name=name,
                    num_heads=num_heads,
                    head_size=width // num_heads,
                    inputs=(inputs[0], inputs[1], inputs[2]),
                    output=after[0],
                )
            )
    return found


def count(module: nn.Module) -> int | None:
    """The number of heads an attention module keeps; none where it keeps none."""
    found = next((getattr(module, name) for name in _NUM_HEADS if hasattr(module, name)), None)
    return found if isinstance(found, int) else None


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Without torch's fused encoder, which training and export do not use, and which puts out zeros for padding."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def recount(model: nn.Module, attention: Attention) -> None:
    """Bring the counts an attention module keeps in line with its query layer, whose heads keep their size."""
    module = model.get_submodule(attention.name)
    width = _linear(model, attention.inputs[0]).out_features
    for name in _NUM_HEADS:
        if hasattr(module, name):
            setattr(module, name, width // attention.head_size)
    for name in _WIDTHS:
        if hasattr(module, name):
            setattr(module, name, width)


def _linear(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask that forbids where it is true, or one that is added already."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
