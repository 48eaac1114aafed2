import pytest
import torch
from torch import nn

from optimization.pruning import sparsify


def test_weights_below_the_threshold_become_zero_and_biases_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.009, -0.009], [0.01, -0.5]]))
        model[0].bias.fill_(0.001)
    sparse = sparsify.sparsify(model, threshold=0.01)
    assert torch.equal(sparse[0].weight, torch.tensor([[0.0, 0.0], [0.01, -0.5]]))
    assert torch.equal(sparse[0].bias, model[0].bias)
    assert model[0].weight[0, 0].item() == pytest.approx(0.009), "the original stays as it was"


def zeros(layer: nn.Module) -> float:
    return float((layer.weight == 0).float().mean())


@pytest.mark.parametrize("ratio", [0.1, 0.5, 11 / 12])
def test_ratio_of_the_smallest_weights_goes(ratio: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.Conv2d(40, 8, 3))
    with torch.no_grad():
        model[1].weight *= 100
    each = sparsify.sparsify(model, ratio=ratio)
    assert [zeros(layer) for layer in each] == pytest.approx([ratio, ratio], abs=1e-3)
    assert model[0].weight[each[0].weight == 0].abs().max() < each[0].weight[each[0].weight != 0].abs().min()
    together = sparsify.sparsify(model, ratio=ratio / 10, scope="global")
    assert zeros(together[0]) > ratio / 10
    assert zeros(together[1]) < ratio / 10


def test_two_of_every_four_inputs_stay_the_larger_ones() -> None:
    torch.manual_seed(0)
    linear, conv, odd = nn.Linear(8, 3), nn.Conv2d(4, 3, 3), nn.Linear(6, 2)
    sparse = sparsify.sparsify(nn.Sequential(linear, conv, odd), pattern="2:4")
    for full, less in ((linear.weight, sparse[0].weight), (conv.weight, sparse[1].weight)):
        rows, kept = (each.detach().movedim(1, -1).reshape(-1, 4) for each in (full, less))
        assert torch.equal((kept != 0).sum(dim=1), torch.full((len(kept),), 2))
        assert torch.equal(kept.abs().sum(dim=1), rows.abs().sort(dim=1).values[:, 2:].flip(1).sum(dim=1))
    assert torch.equal(odd.weight, sparse[2].weight), "six inputs are no multiple of four"


def test_zeros_are_held_while_the_rest_trains() -> None:
    torch.manual_seed(0)
    model = sparsify.sparsify(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), ratio=0.75)
    held, before = sparsify.zeros(model), [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(0, 2, (16,))).backward()
        optimizer.step()
        sparsify.hold(model, held)
    assert zeros(model[0]) == zeros(model[2]) == 0.75
    assert not any(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
