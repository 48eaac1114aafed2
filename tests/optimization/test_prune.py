import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from optimization import models, prune
from optimization.data import Dataset
from optimization.errors import PruneError
from optimization.recipe import Cnn, Mlp

MODELS = [
    Mlp(kind="mlp", hidden=(32, 24)),
    Cnn(kind="cnn", channels=(16, 8), hidden=(32,)),
    Cnn(kind="cnn", channels=(8, 8, 8), hidden=(16, 16)),
]


def cut(dataset: Dataset, config: Mlp | Cnn, ratio: float, round_to: int = 1) -> tuple[nn.Module, nn.Module]:
    model = models.build(config, dataset, seed=0)
    example = torch.from_numpy(dataset.train.inputs[:64])
    return model, prune.prune(model, ratio=ratio, round_to=round_to, example=example)


def hidden_units(model: nn.Module) -> list[int]:
    return [layer.weight.shape[0] for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][:-1]


@pytest.mark.parametrize("config", MODELS, ids=str)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 0.999])
def test_pruned_model_equals_masked_original(digits: Dataset, config: Mlp | Cnn, ratio: float) -> None:
    """`prune` checks it itself; here the mask is found from the weights that stayed, without its help."""
    model, smaller = cut(digits, config, ratio)
    masked = copy.deepcopy(model)
    layers = [
        pair
        for pair in zip(masked.modules(), smaller.modules(), strict=True)
        if isinstance(pair[0], nn.Linear | nn.Conv2d)
    ]
    for full, less in layers[:-1]:
        kept = set(less.bias.tolist())
        prune.silence(full, [unit for unit, bias in enumerate(full.bias.tolist()) if bias not in kept])
    inputs = torch.from_numpy(digits.held_out.inputs)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(inputs), masked(inputs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", MODELS, ids=str)
def test_half_the_units_go_and_the_outputs_stay(digits: Dataset, config: Mlp | Cnn) -> None:
    model, smaller = cut(digits, config, 0.5)
    assert hidden_units(smaller) == [units // 2 for units in hidden_units(model)]
    assert prune.output_layer(smaller).out_features == 10
    assert models.num_parameters(smaller) < models.num_parameters(model) / 1.9


def test_original_stays_as_it_was(digits: Dataset) -> None:
    model = models.build(MODELS[0], digits, seed=0)
    before = copy.deepcopy(model.state_dict())
    prune.prune(model, ratio=0.5, round_to=1, example=torch.from_numpy(digits.train.inputs[:8]))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_weakest_units_go_first() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for unit in (1, 4):
            model[0].weight[unit] *= 1e-3
            model[2].weight[:, unit] *= 1e-3
    smaller = prune.prune(model, ratio=1 / 3, round_to=1, example=torch.randn(8, 4))
    assert torch.equal(smaller[0].weight, model[0].weight[[0, 2, 3, 5]])


def test_same_units_go_every_time(digits: Dataset) -> None:
    one, other = (cut(digits, MODELS[1], 0.5)[1].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_cut_that_changes_more_is_refused() -> None:
    with pytest.raises(PruneError, match=r"must equal the masked original to 1e-05, got 0.5 apart"):
        prune.check(lambda x: x, lambda x: x + 0.5, torch.zeros(2, 3))
    with pytest.raises(PruneError, match=r"got nan apart"):
        prune.check(lambda x: x, lambda x: x * torch.nan, torch.ones(2, 3))


@given(num=st.integers(1, 300), ratio=st.floats(0.001, 0.999), round_to=st.integers(1, 16))
def test_units_kept_are_a_multiple_and_never_none(num: int, ratio: float, round_to: int) -> None:
    kept = prune.num_units_kept(num, ratio, round_to)
    assert 1 <= kept <= num
    assert kept % round_to == 0 or kept == num < round_to or kept == num
    assert abs(kept - num * (1 - ratio)) <= max(1, round_to)
