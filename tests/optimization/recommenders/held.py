"""A table in this process, as shards hold one: pushes take a while, and are done once for each token."""

import asyncio
import random

import numpy as np
import torch


class HeldTable:
    """Trained by torch's own optimizers; `seed` decides how long each call takes, in the loop's time."""

    def __init__(self, rows, *, seed=0):
        self.held = np.array(rows, np.float32)
        self.pushed = []
        """Tokens, in the order they were first done."""
        self.in_push = []
        """Ids of each push."""
        self._sums = np.zeros_like(self.held)
        self._random = random.Random(seed)

    async def rows(self, ids):
        found = self.held[ids]
        await asyncio.sleep(self._random.random() * 0.01)
        return found

    async def set(self, ids, rows):
        self.held[ids] = rows

    async def push(self, token, ids, gradients, *, optimizer, learning_rate):
        await asyncio.sleep(self._random.random() * 0.05)
        if token not in self.pushed:
            self.pushed.append(token)
            self.in_push.append(ids)
            self._step(ids, gradients, optimizer, learning_rate)
        await asyncio.sleep(self._random.random() * 0.05)

    def _step(self, ids, gradients, optimizer, learning_rate):
        if optimizer == "sgd":
            self.held[ids] -= np.float32(learning_rate) * gradients
            return
        self._sums[ids] += gradients**2
        self.held[ids] -= np.float32(learning_rate) * gradients / (np.sqrt(self._sums[ids]) + np.float32(1e-10))


def by_torch(network, rows, examples, batches, learning_rate, optimizer):
    """Rows and weights after torch alone has trained an embedding and the network on these batches."""
    embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(rows.copy()), freeze=False, sparse=True)
    trained = optimizer([*embedding.parameters(), *network.parameters()], lr=learning_rate)
    for ids, labels in batches:
        trained.zero_grad()
        logits = network(*embedding(torch.from_numpy(ids)).unbind(dim=1))[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).float()).backward()
        trained.step()
    return embedding.weight.detach().numpy()
