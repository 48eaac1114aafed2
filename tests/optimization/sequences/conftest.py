from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from optimization.sequences import export
from optimization.sequences.models import Seq2Seq
from tests.optimization.sequences.toys import model


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Seq2Seq, Path]]:
    """A model of a kind, and the file of its step, made once."""
    folder = tmp_path_factory.mktemp("steps")

    @cache
    def of(kind: str) -> tuple[Seq2Seq, Path]:
        made, path = model(kind), folder / f"{kind}.onnx"
        with torch.no_grad():
            made.body.get_output_embeddings().weight.mul_(3)  # random models write one word again and again
        export.export(made, path)
        return made, path

    return of
