import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from optimization.report.board import Board
from tests.optimization.report.test_terminal import CONTROL, TEACHER


def scalars(path: Path) -> Iterator[tuple[str, int, float]]:
    """What an event file holds: records of length, checksum, event, checksum."""
    (file,) = path.glob("events.out.tfevents.*")
    data, at = file.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
        at += length + 16


def test_losses_and_measurements_can_be_read_back(tmp_path: Path) -> None:
    with Board(tmp_path) as board:
        for epoch, loss in enumerate([2.0, 1.0, 0.5], 1):
            board.loss("teacher", epoch, loss)
        board.measurements([TEACHER, CONTROL])
    found = list(scalars(tmp_path))
    assert found[:3] == [("loss/teacher", 1, 2.0), ("loss/teacher", 2, 1.0), ("loss/teacher", 3, 0.5)]
    accuracies = [(step, value) for tag, step, value in found if tag == "artifact/accuracy"]
    assert accuracies == [(0, pytest.approx(0.98)), (1, pytest.approx(0.95))]
    assert ("artifact/latency_s/batch_32", 1, pytest.approx(100e-6)) in found
