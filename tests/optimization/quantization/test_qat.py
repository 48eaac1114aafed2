from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optimization.quantization import qat, quantize, sensitivity
from tests.optimization import architectures
from tests.optimization.architectures import HUGGING_FACE


@pytest.mark.parametrize("family", ["mlp", "resnet"])
def test_training_rounds_as_onnx_runtime_does(tmp_path: Path, family: str) -> None:
    """The reference is the INT8 file: rounding in training explains most of what INT8 changes.

    In the residual net ONNX Runtime folds normalization into the weights, the training does not.
    """
    model, example = architectures.build(family)
    path, batch = architectures.export(model, example, tmp_path / "fp32.onnx")
    quantize.quantize(path, tmp_path / "int8.onnx", [batch])
    int8 = sensitivity.predict(tmp_path / "int8.onnx", [batch])
    fp32 = sensitivity.predict(path, [batch])
    rounded = qat.prepare(model).eval()
    with torch.inference_mode():
        rounded(*example)  # learns the ranges
        trained = torch.softmax(rounded(*example), dim=1).numpy()
    assert np.abs(int8 - fp32).mean() > 1e-5
    assert np.abs(int8 - trained).mean() < 0.6 * np.abs(int8 - fp32).mean()


def test_gradients_pass_through_and_ranges_are_learned() -> None:
    torch.manual_seed(0)
    model = qat.prepare(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))).train()
    inputs = torch.randn(64, 8)
    labels = (inputs.sum(dim=1) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert model[0].low.item() == pytest.approx(inputs.min().item())
    assert model[0].high.item() == pytest.approx(inputs.max().item())


@pytest.mark.parametrize("family", ["cnn", "mobile", "encoder", "bert"])
def test_stripped_model_is_the_original_with_its_weights(family: str) -> None:
    if family in HUGGING_FACE:
        pytest.importorskip("transformers")
    model, example = architectures.build(family)
    prepared = qat.prepare(model)
    prepared(*example)
    stripped = qat.strip(prepared).eval()
    assert not any(isinstance(module, qat.Rounded) for module in stripped.modules())
    with torch.enable_grad():  # torch's fused encoder, which zeroes padding, runs only without gradients
        torch.testing.assert_close(stripped(*example), model(*example), atol=1e-5, rtol=0)


def test_training_with_rounding_wins_back_what_coarse_rounding_takes() -> None:
    """With weights of -1, 0 and 1 times a scale, the loss is large enough to be sure of the gain."""
    torch.manual_seed(3)
    inputs = torch.randn(512, 16)
    labels = (inputs[:, :8].sum(dim=1) * inputs[:, 8:].sum(dim=1) > 0).long()

    def train(model: nn.Module) -> nn.Module:
        optimizer = torch.optim.Adam(model.train().parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
        for _ in range(300):
            loss = nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return model.eval()

    def ternary(model: nn.Module) -> nn.Module:
        rounded = qat.prepare(model)
        for module in rounded.modules():
            if isinstance(module, qat.Rounded):
                module.weight_limit = 1
        return rounded

    def accuracy(model: nn.Module) -> float:
        return (model.eval()(inputs).argmax(dim=1) == labels).float().mean().item()

    plain = train(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2)))
    lost = accuracy(plain) - accuracy(ternary(plain))
    assert lost > 0.06
    learned = qat.strip(train(ternary(plain)))
    assert accuracy(plain) - accuracy(ternary(learned)) < lost / 2
