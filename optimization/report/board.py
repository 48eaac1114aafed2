"""Writes a run's losses and measurements for TensorBoard: `tensorboard --logdir runs`."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboardX import SummaryWriter

from optimization.artifact.manifest import Measurement


class Board:
    """Event files in one directory, to be used in a `with` statement."""

    def __init__(self, path: Path) -> None:
        self._writer = SummaryWriter(str(path), write_to_disk=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def loss(self, step: str, epoch: int, loss: float) -> None:
        """Add the mean training loss of a step's epoch, counted from 1."""
        self._writer.add_scalar(f"loss/{step}", loss, epoch)

    def measurements(self, measurements: Iterable[Measurement]) -> None:
        """Add what each step left behind; the horizontal axis counts the steps."""
        for position, each in enumerate(measurements):
            self._writer.add_scalar(f"artifact/{each.quality.metric}", each.quality.value, position)
            self._writer.add_scalar("artifact/size_bytes", each.size_bytes, position)
            for batch_size, latency_s in each.latency_s.items():
                self._writer.add_scalar(f"artifact/latency_s/batch_{batch_size}", latency_s, position)
