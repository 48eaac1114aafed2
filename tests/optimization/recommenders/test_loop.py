"""What workers do: as torch does where nothing is delayed; every example, and every gradient, once."""

import asyncio

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optimization.recommenders import network as networks
from optimization.recommenders.clock import Clock
from optimization.recommenders.examples import Examples
from optimization.recommenders.loop import Share, Worker
from optimization.recommenders.recipe import Network, Pushing
from optimization.recommenders.table import Layout
from tests.deployments.embeddings.simulated import run
from tests.optimization.recommenders.held import HeldTable, by_torch

COLUMNS = {"user": 30, "item": 20}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad}
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


RUN = 7


def token(worker, step):
    return (RUN << 64) | (worker << 48) | step


def made(num=100, seed=0):
    random = np.random.default_rng(seed)
    ids = np.stack([random.integers(0, rows, num) for rows in COLUMNS.values()], axis=1)
    return Examples(ids=ids, labels=random.integers(0, 2, num))


class Training:
    """A table, a clock, and workers of one recipe."""

    def __init__(self, num_workers, *, hidden=(4,), examples=None, seed=0, **settings):
        self.network = networks.build(Network(hidden=hidden), 2, 4, seed=0)
        weights = networks.weights(self.network)
        self.layout = Layout(columns=COLUMNS, width=4, num_weights=len(weights))
        self.rows = np.random.default_rng(1).standard_normal((self.layout.num_rows, 4)).astype(np.float32)
        self.rows[self.layout.weights] = self.layout.as_rows(weights)
        self.table = HeldTable(self.rows, seed=seed)
        self.settings = Pushing(**{"epochs": 2, "batch_size": 8} | settings)
        self.examples = examples or made()
        self.num_workers = num_workers
        self.end = self.settings.epochs * self.share(0).steps_per_epoch

    def share(self, worker):
        return Share(
            examples=self.examples, training=self.settings, worker=worker, num_workers=self.num_workers, seed=0
        )

    def worker(self, clock, worker, table=None):
        network = networks.build(Network(hidden=(4,)), 2, 4, seed=0)
        return Worker(self.share(worker), network, table or self.table, self.layout, clock, run=RUN)

    async def clock(self):
        clock = Clock(self.num_workers, max_delay=self.settings.max_delay)
        await clock.open(self.end)
        return clock


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_worker_without_delay_does_what_torch_does_with_the_table_inside(optimizer):
    training = Training(1, optimizer=optimizer, max_delay=0, learning_rate=0.1)

    async def all_of_it():
        await training.worker(await training.clock(), 0).work()

    run(all_of_it())
    share = training.share(0)
    batches = [share.batch(step) for step in range(training.end)]
    begins = training.layout.begins
    expected = by_torch(
        training.network,
        training.rows[: sum(COLUMNS.values())],
        training.examples,
        [(each.ids + begins, each.labels) for each in batches],
        0.1,
        OPTIMIZERS[optimizer],
    )
    assert np.allclose(training.table.held[: len(expected)], expected, rtol=1e-4, atol=1e-5)
    weights = training.layout.as_rows(networks.weights(training.network))
    assert np.allclose(training.table.held[training.layout.weights], weights, rtol=1e-4, atol=1e-5)


@given(num=st.integers(1, 60), num_workers=st.integers(1, 4), size=st.integers(1, 9))
def test_all_workers_together_take_every_example_once_an_epoch(num, num_workers, size):
    examples = Examples(ids=np.arange(num)[:, None], labels=np.zeros(num, np.int64))
    training = Pushing(epochs=2, batch_size=size)
    shares = [
        Share(examples=examples, training=training, worker=each, num_workers=num_workers, seed=3)
        for each in range(num_workers)
    ]
    orders = []
    for epoch in range(2):
        steps = range(epoch * shares[0].steps_per_epoch, (epoch + 1) * shares[0].steps_per_epoch)
        taken = [number for share in shares for step in steps for number in share.batch(step).ids[:, 0].tolist()]
        assert sorted(taken) == list(range(num))
        orders.append(taken)
    assert num < 10 or orders[0] != orders[1]


def test_gradients_of_an_id_that_comes_twice_are_summed_before_they_are_sent():
    examples = Examples(ids=np.array([[1, 1], [1, 2], [1, 1]]), labels=np.array([0, 1, 1]))
    training = Training(1, examples=examples, epochs=1)

    async def all_of_it():
        await training.worker(await training.clock(), 0).work()

    run(all_of_it())
    (ids,) = training.table.in_push
    assert ids[:3].tolist() == [1, 31, 32]
    assert len(np.unique(ids)) == len(ids)


class Watched:
    """The table as one worker sees it, who asks for the rows of each step once; what must be in them is looked for."""

    def __init__(self, training, worker):
        self._training = training
        self._worker = worker
        self._step = 0

    async def rows(self, ids):
        training, step = self._training, self._step
        self._step += 1
        batch = training.share(self._worker).batch(step).ids + training.layout.begins
        assert set(ids.tolist()) >= set(batch.ravel().tolist())
        needed = range(max(0, step - training.settings.max_delay))
        assert {token(worker, before) for worker in range(training.num_workers) for before in needed} <= set(
            training.table.pushed
        )
        return await training.table.rows(ids)

    def __getattr__(self, name):
        return getattr(self._training.table, name)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), max_delay=st.integers(0, 4), num_workers=st.integers(1, 3))
def test_rows_of_a_step_have_all_gradients_but_those_of_the_delay(seed, max_delay, num_workers):
    training = Training(num_workers, seed=seed, max_delay=max_delay, examples=made(8 * num_workers * 6))

    async def all_of_it():
        clock = await training.clock()
        await asyncio.gather(
            *(training.worker(clock, each, Watched(training, each)).work() for each in range(num_workers))
        )

    run(all_of_it())
    assert len(training.table.pushed) == num_workers * training.end


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    max_delay=st.integers(0, 4),
    lives=st.lists(st.tuples(st.integers(0, 1), st.floats(0.01, 1.0)), max_size=4),
)
def test_every_gradient_is_applied_once_though_workers_die_and_others_take_their_place(seed, max_delay, lives):
    training = Training(2, seed=seed, max_delay=max_delay, examples=made(70))

    async def all_of_it():
        clock = await training.clock()
        working = [asyncio.ensure_future(training.worker(clock, number).work()) for number in range(2)]
        for number, seconds in lives:
            await asyncio.sleep(seconds)
            working[number].cancel()
            await asyncio.wait([working[number]])
            working[number] = asyncio.ensure_future(training.worker(clock, number).work())
        await asyncio.gather(*working)
        await clock.passed(training.end)

    run(all_of_it())
    expected = {
        token(worker, step)
        for worker in range(2)
        for step in range(training.end)
        if len(training.share(worker).batch(step))
    }
    assert sorted(training.table.pushed) == sorted(expected)
