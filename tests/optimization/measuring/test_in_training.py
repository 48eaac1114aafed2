import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optimization.measuring import in_training, measures
from optimization.readers.examples import Split
from optimization.tasks.classification import Classification


class Echo(nn.Module):
    """Gives its inputs as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


@pytest.mark.parametrize("num_outputs", [1, 5])
def test_accuracy_is_numpys_and_leaves_the_model_in_training(random: np.random.Generator, num_outputs: int) -> None:
    logits = random.normal(size=(700, num_outputs)).astype(np.float32)
    labels = random.integers(0, max(2, num_outputs), 700)
    expected = np.mean((logits[:, 0] > 0 if num_outputs == 1 else logits.argmax(axis=1)) == labels)
    model = Echo().train()
    split, measure = Split(inputs={"x": logits}, labels=labels), measures.named("accuracy")
    assert in_training.of(model, split, Classification(), measure) == pytest.approx(expected)
    assert model.training
