"""Which precision is chosen, and that the choice changes with the processor."""

import os
import subprocess
import sys
import time

import pytest
import torch
from torch import Tensor

from optimization.artifact.findings import Precision
from optimization.measuring import precision

CPU = torch.device("cpu")

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""What a processor without AVX-512 and bf16 lets torch do."""

PROGRAM = """
import torch
from torch import nn
from optimization.measuring import precision

torch.set_num_threads(1)
model, inputs = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(3))), torch.randn(256, 1024)

def attempt(tried_in):
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=tried_in == "bf16"):
        outputs = model(inputs)
    outputs.float().square().mean().backward()
    return torch.cat([each.grad.flatten() for each in model.parameters()])

choice = precision.choose(attempt, precision.SAME_GRADIENTS, torch.device("cpu"))
print(choice.precision, choice.seconds["bf16"] / choice.seconds["fp32"], choice.alike)
"""


def chosen(environment: dict[str, str]) -> tuple[str, float, float]:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    name, ratio, alike = ended.stdout.split()
    return name, float(ratio), float(alike)


def test_bf16_is_left_where_the_processor_emulates_it() -> None:
    name, ratio, alike = chosen(AVX2)
    assert name == "fp32"
    assert ratio > 2
    assert alike > 0.99


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="no bf16 instructions here")
def test_bf16_is_taken_where_the_processor_has_it() -> None:
    name, ratio, alike = chosen({})
    assert name == "bf16"
    assert ratio < 0.9
    assert alike > 0.99


@pytest.mark.parametrize(
    ("fp32_s", "bf16_s", "alike", "expected"),
    [
        (2.0, 1.0, 0.999, "bf16"),
        (1.0, 2.0, 0.999, "fp32"),
        (1.05, 1.0, 0.999, "fp32"),
        (0.002, 0.001, 0.999, "fp32"),
        (2.0, 1.0, 0.5, "fp32"),
        (2.0, 1.0, float("nan"), "fp32"),
    ],
)
def test_bf16_must_be_clearly_faster_and_come_to_the_same(
    fp32_s: float, bf16_s: float, alike: float, expected: str
) -> None:
    found = precision.decide(fp32_s, bf16_s, alike, least_alike=0.95)
    assert found.precision == expected
    assert found.seconds == {"fp32": fp32_s, "bf16": bf16_s}
    assert found.processor


def test_what_is_hopeless_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    tried: list[Precision] = []

    def attempt(tried_in: Precision) -> Tensor:
        nonlocal now
        now += 1.0 if tried_in == "fp32" else 10.0
        tried.append(tried_in)
        return torch.ones(3)

    monkeypatch.setattr(time, "process_time", lambda: now)
    found = precision.choose(attempt, 0.9, CPU)
    assert tried == ["fp32", "bf16"]
    assert (found.precision, found.seconds) == ("fp32", {"fp32": 1.0, "bf16": 10.0})


def test_trying_leaves_random_numbers_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    precision.choose(lambda _: torch.rand(100), 0.9, CPU)
    torch.testing.assert_close(torch.rand(4), expected)
