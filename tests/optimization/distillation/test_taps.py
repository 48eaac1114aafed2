"""Taps are found in every family of models, and read what the family's own code says is there."""

import copy

import pytest
import torch
from torch import nn

from optimization.distillation import taps
from optimization.networks.resnet import Resnet
from optimization.pruning import heads, prune
from tests.optimization.architectures import build

FOUND = {
    "mlp": {"pooled": 1},
    "cnn": {"pooled": 1, "features": 2},
    "resnet": {"pooled": 1, "features": 2},
    "mobile": {"pooled": 1, "features": 2},
    "dense": {"pooled": 1, "features": 1},
    "encoder": {"pooled": 1, "hidden": 4, "attention": 1},
    "encoder, norm first": {"pooled": 1, "hidden": 4, "attention": 1},
    "bert": {"pooled": 1, "hidden": 4, "attention": 1},
    "distilbert": {"pooled": 1, "hidden": 4, "attention": 1},
}


@pytest.mark.parametrize("family", FOUND)
def test_each_family_has_the_states_one_expects(family: str) -> None:
    model, example = build(family)
    found = {kind: len(taps.find(kind, model, example)) for kind in ("hidden", "attention", "pooled", "features")}
    assert {kind: num for kind, num in found.items() if num} == FOUND[family]


def test_hidden_states_are_hugging_faces_own() -> None:
    model, example = build("bert")
    _, states = taps.read(model, taps.find("hidden", model, example), example)
    with torch.no_grad():
        expected = model.model.bert(*example, output_hidden_states=True).hidden_states
    for got, wanted in zip(states, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_query_and_key_make_hugging_faces_own_attention() -> None:
    model, example = build("bert, eager")
    (tap,) = taps.find("attention", model, example)
    _, (state,) = taps.read(model, (tap,), example)
    query, key, _ = (each.unflatten(2, (4, 8)).transpose(1, 2) for each in state.chunk(3, dim=2))
    scores = query @ key.transpose(2, 3) / 8**0.5 + (1 - example[1][:, None, None, :]) * -1e9
    expected = model.model(*example, output_attentions=True).attentions[-1]
    torch.testing.assert_close(scores.softmax(dim=3), expected)


@pytest.mark.parametrize("family", ["encoder", "encoder, norm first"])
def test_attention_of_torch_is_read_alike_before_and_after_it_can_be_cut(family: str) -> None:
    model, example = build(family)
    slim = prune.prepare(model, example)
    states = [taps.read(each, taps.find("attention", each, example), example)[1][0] for each in (model, slim)]
    torch.testing.assert_close(*states)


class Packed(nn.Module):
    """Attention with one layer for query, key and value, as in timm's vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.head = 3, nn.Linear(12, 36), nn.Linear(12, 2)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        query, key, value = (each.unflatten(2, (3, 4)).transpose(1, 2) for each in self.qkv(states).chunk(3, dim=2))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.head(mixed.transpose(1, 2).flatten(2).mean(dim=1))


def test_packed_projections_are_read_as_they_are() -> None:
    model, example = Packed().eval(), (torch.rand(4, 7, 12),)
    (tap,) = taps.find("attention", model, example)
    assert tap == taps.Tap(modules=("qkv",), width=12, num_heads=3)
    torch.testing.assert_close(taps.read(model, (tap,), example)[1][0], model.qkv(*example))


def test_stages_of_a_resnet_are_its_features() -> None:
    model = Resnet(depth=14, width=4, channels=3, num_outputs=5).eval()
    example = (torch.rand(2, 3, 16, 16),)
    found = taps.find("features", model, example)
    assert [(tap.modules, tap.width, tap.sides) for tap in found] == [
        (("layer1",), 4, (16, 16)), (("layer2",), 8, (8, 8)), (("layer3",), 16, (4, 4)),
    ]  # fmt: skip
    logits, (*_, last) = taps.read(model, found, example)
    torch.testing.assert_close(model.linear(last.mean(dim=(2, 3))), logits)


def test_what_is_pooled_is_read_before_dropout() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))
    inputs = (torch.randn(3, 4),)
    assert model.training
    _, (state,) = taps.read(model, taps.find("pooled", model, inputs), inputs)
    assert model.training
    torch.testing.assert_close(state, model[1](model[0](inputs[0])))


def test_reading_leaves_nothing_behind() -> None:
    model, example = build("encoder")
    before = copy.deepcopy(model.state_dict())
    for kind in ("hidden", "attention", "pooled"):
        taps.read(model, taps.find(kind, model, example), example)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()
    assert heads.find(model) == []
