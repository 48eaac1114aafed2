"""What torch keeps private and we use."""

from pathlib import Path

from torch import nn
from torch.onnx._internal.exporter import _registration

from optimization.graphs import export
from optimization.readers.examples import Split
from optimization.tasks.classification import Classification


def test_the_exporter_reads_its_operators_once(tmp_path: Path, points: Split) -> None:
    """Where this fails, a release of torch finds its operators by another way: see graphs/torch_private.py."""
    known = _registration.onnxscript_apis
    for number in range(2):
        export.export(nn.Linear(8, 2), tmp_path / f"{number}.onnx", points, task=Classification())
    assert known.get_torchlib_ops.cache_info().misses == 1
    assert known.get_torchlib_ops.cache_info().hits >= 1
