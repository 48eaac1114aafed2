import time

import pytest
import torch
from torch import Tensor, nn

from optimization.training.stopwatch import Stopwatch


class Slow(nn.Module):
    """Takes 20 ms."""

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(0.02)
        return inputs


class Waiting(nn.Module):
    """Wraps a model as DDP does, and waits for others before and after it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(0.1)
        outputs: Tensor = self.model(inputs)
        time.sleep(0.1)
        return outputs


def test_waiting_for_others_is_not_a_workers_own_time() -> None:
    model = Slow()
    watch = Stopwatch(model, torch.device("cpu"))
    watch.add(0.01)
    Waiting(model)(torch.zeros(1))
    assert watch.take() == pytest.approx(0.03, abs=0.02)
    assert watch.take() == 0
