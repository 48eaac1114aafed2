"""Streamed examples: how workers share them, and that memory stays bounded."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from optimization.readers import files
from optimization.readers.examples import Split, Stream
from optimization.readers.streaming import Columns
from optimization.recipe.methods import Training
from optimization.training.batches import num_batches
from optimization.training.flow import Flow
from optimization.training.job import Job
from optimization.training.loop import Place
from optimization.training.train import Workers


class Share:
    """What Ray Data gives one worker: an equal number of rows, in blocks."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def iter_batches(self, **_: object) -> Iterator[Columns]:
        for block in np.array_split(self._rows, -(-len(self._rows) // 50)):
            yield {"input.x": block[:, None].astype(np.float32), "label": block % 2, "number": block}


@given(num=st.integers(8, 300), size=st.integers(4, 64), world=st.integers(1, 4))
def test_workers_share_each_batch_of_a_stream(num: int, size: int, world: int) -> None:
    """Together they make each batch; an example comes once, but for the few that fill up the last one."""
    stream = Stream(folder=Path(), num=num, example_bytes=4)
    flows = [
        Flow(
            stream=stream,
            place=Place(rank=rank, world=world),
            share=Share(np.arange(rank, num - num % world, world)),
        )
        for rank in range(world)
    ]
    batches = list(zip(*(flow.parts(size, 0) for flow in flows), strict=True))
    assert len(batches) == num_batches(num, size)
    for parts in batches:
        assert sum(map(len, parts)) == min(size, num)
        assert min(map(len, parts)) > 0
    seen = np.concatenate([part.numbers for parts in batches for part in parts])
    assert len(seen) - len(set(seen)) < world


WIDTH, NUM = 4096, 24_000
_MIB = 2**20


class Weighed(nn.Module):
    """A linear model that notes the most memory its process had of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, 1)
        self.register_buffer("memory", torch.zeros(2, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        status = Path("/proc/self/status").read_text()
        now_mib = float(status.split("RssAnon:")[1].split()[0]) / 1024
        if not self.memory[0]:
            self.memory[0] = now_mib
        self.memory[1] = max(float(self.memory[1]), now_mib)
        logits: Tensor = self.linear(inputs)
        return logits


def rows(batch: Columns) -> Columns:
    labels = batch["id"] % 2
    inputs = np.zeros((len(labels), WIDTH), np.float32)
    inputs[:, 0] = 2 * labels - 1
    return {"input.x": inputs, "label": labels, "number": batch["id"]}


@pytest.mark.ray
@pytest.mark.long
def test_a_worker_takes_less_memory_than_the_examples_it_learns_from(
    ray_cluster: None, points: Split, tmp_path: Path
) -> None:
    files.quiet().range(NUM).map_batches(rows, batch_size=2000).write_parquet(
        str(tmp_path), min_rows_per_file=2000, max_rows_per_file=2000
    )
    stream = Stream(folder=tmp_path, num=NUM, example_bytes=4 * WIDTH)
    settings = Training(epochs=1, batch_size=100, learning_rate=0.01)
    wanted = Job(step="teacher", model=Weighed(), training=settings, seed=0, stream=stream)
    with Workers(points, num_workers=1, num_cpus_reading=1, service="stream") as workers:
        got = workers.train(wanted)
    inputs = torch.from_numpy(rows({"id": np.arange(10)})["input.x"])
    assert ((got(inputs)[:, 0] > 0).numpy() == np.arange(10) % 2).all()
    began, most = got.get_buffer("memory").tolist()
    assert most - began < 250, "MiB"
    assert NUM * stream.example_bytes > 350 * _MIB
