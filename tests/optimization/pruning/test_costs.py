from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optimization.pruning import costs, prune, stacks
from optimization.pruning.prune import Amount
from optimization.quantization.quantize import Method
from optimization.readers.examples import Split
from optimization.tasks.classification import Classification
from tests.optimization import architectures


def two_stages() -> nn.Module:
    """Blocks of 4 channels at 32 x 32 pixels, then of 4 at 4 x 4, which compute 64 times less."""
    torch.manual_seed(0)
    block = architectures.BasicBlock
    first, second = (nn.Sequential(*(block(4, 4) for _ in range(6))) for _ in range(2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(first, nn.AvgPool2d(8), second, *head).eval()


@pytest.mark.parametrize("method", [None, "static"])
def test_layer_that_computes_more_costs_more(
    method: Method | None, random: np.random.Generator, tmp_path: Path
) -> None:
    model = two_stages()
    pictures = random.normal(size=(16, 4, 32, 32)).astype(np.float32)
    split = Split(inputs={"pictures": pictures}, labels=np.zeros(16, np.int64))
    removable = stacks.find(model, (torch.from_numpy(pictures),))
    found = costs.of_layers(model, removable, split, task=Classification(), method=method, folder=tmp_path)
    assert list(found) == ["0", "2"]
    assert found["0"] > 2 * found["2"] > 0


def test_stack_of_which_one_layer_can_go_has_a_cost_too(random: np.random.Generator, tmp_path: Path) -> None:
    block = architectures.BasicBlock
    first, second = nn.Sequential(block(4, 8), block(8, 8)), nn.Sequential(*(block(8, 8) for _ in range(3)))
    model = nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    pictures = random.normal(size=(8, 4, 32, 32)).astype(np.float32)
    split = Split(inputs={"pictures": pictures}, labels=np.zeros(8, np.int64))
    removable = stacks.find(model, (torch.from_numpy(pictures),))
    assert removable == {"0": (1,), "1": (0, 1, 2)}
    found = costs.of_layers(model, removable, split, task=Classification(), method=None, folder=tmp_path)
    assert 0.2 < found["0"] / found["1"] < 5, "they are alike"


def test_costly_layers_go_where_the_others_are_missed_less() -> None:
    torch.manual_seed(0)
    first, second = (nn.Sequential(*(architectures.BasicBlock(4, 4) for _ in range(3))) for _ in range(2))
    with torch.no_grad():
        for stack, does in ((first, 0.02), (second, 0.01)):
            for block in stack:
                block.bn2.weight.zero_()
                block.bn2.bias.fill_(does)
    model = nn.Sequential(first, nn.ReLU(), second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    for taken, kept in (({}, [3, 1]), ({"0": 100.0, "2": 1.0}, [1, 3])):
        smaller = prune.prune(model, Amount(layers=0.34, scope="global"), (torch.rand(4, 4, 8, 8),), costs=taken)
        assert [len(smaller[0]), len(smaller[2])] == kept
