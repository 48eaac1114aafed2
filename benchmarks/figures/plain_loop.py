"""The training loop without Ray, for torchrun; prints when each epoch ended, as JSON."""

import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from optimization.chance import generator
from optimization.readers.examples import Split
from optimization.recipe.methods import Training
from optimization.tasks.classification import Classification
from optimization.training.batches import num_batches, shards
from optimization.training.loop import flush_denormals


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Model, data and settings that both sides share."""

    epochs: int
    num_samples: int = 32_768
    width: int = 512

    def split(self) -> Split:
        """Numbers at random, in ten classes."""
        random = np.random.default_rng(0)
        inputs = random.standard_normal((self.num_samples, 256), np.float32)
        return Split(inputs={"features": inputs}, labels=random.integers(0, 10, self.num_samples))

    def model(self) -> nn.Module:
        """Three fully connected layers."""
        torch.manual_seed(0)
        hidden = nn.Linear(self.width, self.width)
        return nn.Sequential(nn.Linear(256, self.width), nn.ReLU(), hidden, nn.ReLU(), nn.Linear(self.width, 10))

    def training(self) -> Training:
        """The settings, as a recipe gives them."""
        return Training(epochs=self.epochs, batch_size=256)


def main() -> None:
    """Train, and print as the first worker."""
    flush_denormals()
    distributed.init_process_group("gloo")
    times = train(Loop(epochs=int(sys.argv[1])))
    if distributed.get_rank() == 0:
        print(json.dumps(times))
    distributed.destroy_process_group()


def train(loop: Loop) -> list[float]:
    """Train as `optimization.training.loop.fit` does; the times at which the epochs ended.

    The model goes before its process group does: the other way round both may wait for each other forever [torch 2.13].
    """
    rank, world = distributed.get_rank(), distributed.get_world_size()
    split, training = loop.split(), loop.training()
    model = DistributedDataParallel(loop.model().train())
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    batches = num_batches(len(split), training.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs * batches)
    labels = torch.from_numpy(split.labels)
    times = []
    for epoch in range(training.epochs):
        total = torch.zeros(())
        for rows in shards(
            split, np.arange(len(split)), training.batch_size, generator(0, "order", epoch), rank, world
        ):
            logits = model(*(torch.from_numpy(values) for values in split.batch(rows).values()))
            losses = Classification().hard_loss(logits, labels[torch.from_numpy(rows)])
            loss = losses.sum() * world / training.batch_size
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += losses.detach().sum()
        distributed.all_reduce(total)
        times.append(time.perf_counter())
    return times


if __name__ == "__main__":
    main()
