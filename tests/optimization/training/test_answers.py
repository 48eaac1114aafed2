from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from optimization.readers.examples import Split
from optimization.training import answers


class Asked:
    """Counts how often the teacher is asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, teacher: nn.Module) -> NDArray[np.float32]:
        self.times += 1
        return np.full((200, 1), self.times, np.float32)


def teacher() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(8, 1)


def test_same_teacher_and_data_are_asked_once(points: Split, tmp_path: Path) -> None:
    asked = Asked()
    first, again = (answers.once(teacher(), points, tmp_path, asked) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert asked.times == 1


@pytest.mark.parametrize("change", ["weights", "data", "damaged"])
def test_another_teacher_or_other_data_are_asked_anew(points: Split, tmp_path: Path, change: str) -> None:
    asked, model = Asked(), teacher()
    answers.once(model, points, tmp_path, asked)
    if change == "weights":
        nn.init.zeros_(model.bias)
    elif change == "data":
        points = points.take(np.arange(200)[::-1])
    else:
        next(tmp_path.iterdir()).write_bytes(b"\x93NUMPY")
    answers.once(model, points, tmp_path, asked)
    assert asked.times == 2
