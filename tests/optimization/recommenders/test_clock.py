"""No worker is further ahead than it may be, whatever calls take."""

import asyncio
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimization.recommenders.clock import Clock
from tests.deployments.embeddings.simulated import run


@settings(max_examples=60)
@given(
    num_workers=st.integers(1, 4),
    max_delay=st.integers(0, 5),
    num_steps=st.integers(1, 25),
    slowness=st.lists(st.floats(0.01, 3), min_size=4, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_a_step_begins_when_all_have_what_lies_further_back_than_the_delay(
    num_workers, max_delay, num_steps, slowness, seed
):
    draws = random.Random(seed)
    acknowledged = set()
    begun = [0] * num_workers

    async def worker(clock, number):
        async with asyncio.TaskGroup() as pushes:
            for step in range(num_steps):
                await clock.wait(step)
                begun[number] = step + 1
                needed = {(each, before) for each in range(num_workers) for before in range(step - max_delay)}
                assert needed <= acknowledged
                await asyncio.sleep(draws.random() * slowness[number])
                pushes.create_task(push(clock, number, step))

    async def push(clock, number, step):
        await asyncio.sleep(draws.random() * 2)
        acknowledged.add((number, step))
        await clock.acknowledge(number, step, 1.0)

    async def all_of_it():
        clock = Clock(num_workers, max_delay=max_delay)
        await clock.open(num_steps)
        await asyncio.gather(*(worker(clock, number) for number in range(num_workers)))
        assert await clock.passed(num_steps) == 1.0

    run(all_of_it())
    assert begun == [num_steps] * num_workers  # and nobody waits for ever


def test_nobody_passes_the_gate_before_it_is_opened():
    async def all_of_it():
        clock = Clock(2, max_delay=3)
        await clock.open(2)
        for step in range(2):
            await clock.wait(step)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await clock.wait(2)
        await clock.open(4)
        await clock.wait(2)

    run(all_of_it())


def test_one_that_takes_anothers_place_begins_where_all_is_acknowledged():
    async def all_of_it():
        clock = Clock(2, max_delay=9, begin=10)
        await clock.open(20)
        assert await clock.next_step(1) == 10
        for step in (11, 10, 13, 10):
            await clock.acknowledge(1, step, float(step))
        assert await clock.next_step(1) == 12
        assert await clock.next_step(0) == 10
        await clock.acknowledge(1, 13, 99.0)  # done again by who took its place: it is counted once
        for step in (10, 11):
            await clock.acknowledge(0, step, None)
        assert await clock.passed(12) == (11 + 10 + 13) / 3
        assert math.isnan(await clock.passed(12))

    run(all_of_it())
