import copy
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor, nn

from optimization.pruning import prune, scores
from optimization.pruning.prune import Amount
from optimization.pruning.scores import Gradients

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
LABELS = (INPUTS[:, 0] + INPUTS[:, 1] > 0).long()


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


def loss_of(model: nn.Module, rows: slice = slice(None)) -> Tensor:
    return nn.functional.cross_entropy(model(INPUTS[rows]), LABELS[rows])


def test_movement_is_half_the_growth_of_the_squared_weights() -> None:
    """Sanh 2020, equation 3: with plain gradient steps, lr * sum(-w dL/dw) = (w_end^2 - w_start^2) / 2 nearly."""
    model = small()
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    gradients, rate = Gradients(model, "movement"), 1e-3
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(50):
        optimizer.zero_grad()
        loss_of(model).backward()
        gradients.observe()
        optimizer.step()
    for name, movement in gradients.saliency().items():
        growth = (dict(model.named_parameters())[name].detach() ** 2 - start[name] ** 2) / 2
        torch.testing.assert_close(50 * rate * movement, growth, atol=1e-5, rtol=0.05)


def test_taylor_is_the_squared_change_of_the_loss_without_the_weight() -> None:
    """Molchanov 2019, equations 3 and 8, to first order in a small weight."""
    model = small()
    with torch.no_grad():
        model[2].weight *= 0.01
    gradients = Gradients(model, "taylor")
    loss = loss_of(model)
    loss.backward()
    gradients.observe()
    saliency = gradients.saliency()["2.weight"]
    for place in ((0, 0), (1, 3), (0, 7)):
        without = copy.deepcopy(model)
        with torch.no_grad():
            without[2].weight[place] = 0
        change = (loss_of(without) - loss).item() ** 2
        assert saliency[place].item() == pytest.approx(change, rel=0.05)


def test_units_the_loss_does_not_need_go_first() -> None:
    """The weights that feed them are the largest, so that magnitude keeps them."""
    model = small()
    with torch.no_grad():
        model[0].weight[[2, 5]] *= 50
        model[2].weight[:, [2, 5]] *= 1e-3  # hardly read
    gradients = Gradients(model, "taylor")
    loss_of(model).backward()
    gradients.observe()
    cut = {
        criterion: prune.prune(model, Amount(hidden=0.25), (INPUTS,), criterion, trained=gradients.saliency())
        for criterion in ("taylor", "magnitude")
    }
    assert torch.equal(cut["taylor"][0].weight, model[0].weight[[0, 1, 3, 4, 6, 7]])
    assert cut["magnitude"][0].weight.abs().max() == model[0].weight.abs().max()


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = small()
    gradients = Gradients(model, "movement")
    loss_of(model, slice(32 * rank, 32 * (rank + 1))).backward()
    gradients.observe()
    smaller = prune.prune(model, Amount(hidden=0.5), (INPUTS,), "movement", trained=gradients.saliency())
    torch.save({"saliency": gradients.saliency(), "weight": smaller[0].weight.detach()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_every_rank_scores_all_examples_and_cuts_the_same(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(one["weight"], other["weight"])
    model = small()
    alone = Gradients(model, "movement")
    loss_of(model).backward()
    alone.observe()
    for name, expected in alone.saliency().items():
        torch.testing.assert_close(one["saliency"][name], expected, atol=1e-7, rtol=1e-4)
        assert torch.equal(one["saliency"][name], other["saliency"][name])


def test_random_scores_are_equal_for_equal_seeds_only() -> None:
    one, same, other = (scores.random(small(), seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
