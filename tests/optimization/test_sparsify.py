import torch
from torch import nn

from optimization.sparsify import sparsify


def test_weights_below_the_threshold_become_zero_and_no_others() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.009, -0.009], [0.01, -0.02]]))
        model.bias.fill_(0.001)
    sparse = sparsify(model, 0.01)
    torch.testing.assert_close(sparse.weight.detach(), torch.tensor([[0, 0], [0.01, -0.02]]))
    torch.testing.assert_close(sparse.bias, model.bias)
    assert model.weight.count_nonzero() == 4, "the original stays"
