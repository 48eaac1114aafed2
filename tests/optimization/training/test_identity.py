"""What a digest of a model tells apart: all that it computes, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from optimization.errors import IdentityError
from optimization.networks import encoder
from optimization.readers.examples import Split
from optimization.recipe.architectures import HuggingFaceModel
from optimization.tasks.classification import Classification
from optimization.training import identity

TEXTS = Split(
    inputs={"input_ids": np.arange(12).reshape(2, 6), "attention_mask": np.ones((2, 6), np.int64)},
    labels=np.array([0, 1]),
    lengths=np.array([6, 6]),
)


class Scaled(nn.Module):
    """A layer whose forward pass reads an attribute; no weight, and nothing that `repr` shows, changes with it."""

    def __init__(self, power: int, forward: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 4)
        self.drop = nn.Dropout(0.1)
        self.power = power
        self.squash = forward

    def forward(self, inputs: Tensor) -> Tensor:
        return self.squash(self.drop(self.layer(inputs)) ** self.power)


@pytest.mark.parametrize(
    ("change", "is_seen"),
    [
        ({"pooling": "first"}, True),
        ({"overrides": {"num_attention_heads": 4}}, True),
        ({"overrides": {"hidden_act": "relu"}}, True),
        ({}, False),
    ],
)
def test_a_teacher_is_known_by_what_it_computes(tmp_path: Path, change: dict[str, object], is_seen: bool) -> None:
    """Neither pooling nor the number of heads stands in a weight or in `repr`."""
    transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    ).save_pretrained(tmp_path)

    def digest(**settings: object) -> str:
        torch.manual_seed(0)
        described = {"kind": "huggingface", "name": str(tmp_path), "pretrained": False} | settings
        config = HuggingFaceModel.model_validate(described)
        return identity.of_model(encoder.build(config, Classification(), ("no", "yes"), 2), TEXTS)

    assert (digest() != digest(**change)) is is_seen


def test_edited_forward_code_and_attributes_make_another_model(points: Split) -> None:
    assert identity.of_model(Scaled(2), points) == identity.of_model(Scaled(2), points)
    assert identity.of_model(Scaled(2), points) != identity.of_model(Scaled(3), points)
    assert identity.of_model(Scaled(2), points) != identity.of_model(Scaled(2, torch.tanh), points)


@pytest.mark.parametrize("what", ["weights", "buffer", "frozen"])
def test_weights_buffers_and_what_is_trained_make_another_model(points: Split, what: str) -> None:
    model, other = (nn.Sequential(Scaled(2), nn.BatchNorm1d(4)) for _ in range(2))
    if what == "weights":
        nn.init.ones_(other[0].layer.bias)
    elif what == "buffer":
        other[1].running_mean.fill_(1)
    else:
        other[0].layer.bias.requires_grad = False
    assert identity.of_model(model, points) != identity.of_model(other, points)


def test_what_is_dropped_in_training_makes_another_start(points: Split) -> None:
    model, other = Scaled(2), Scaled(2)
    other.drop.p = 0.5
    assert identity.of_model(model, points, training=True) != identity.of_model(other, points, training=True)
    model.train()
    identity.of_model(model, points)
    assert model.training, "it is left as it was"


def test_a_model_that_cannot_be_traced_is_told(points: Split) -> None:
    class Choosy(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs if inputs.sum() > 0 else -inputs

    with pytest.raises(IdentityError, match="must be traceable to be recognised"):
        identity.of_model(Choosy(), points)


def test_a_digest_is_the_same_in_every_process(points: Split) -> None:
    program = (
        "import numpy as np\nfrom optimization.readers.examples import Split\n"
        "from optimization.training import identity\nfrom tests.optimization.training.test_identity import Scaled\n"
        "inputs = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)\n"
        "split = Split(inputs={'x': inputs}, labels=(inputs.sum(axis=1) > 0).astype(np.int64))\n"
        "print(identity.of_model(Scaled(2), split, training=True), identity.of_split(split))"
    )
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert ended.stdout.split() == [identity.of_model(Scaled(2), points, training=True), identity.of_split(points)]
