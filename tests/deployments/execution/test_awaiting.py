"""Answers that are awaited together, and within a request's time."""

import asyncio

import pytest

from deployments.errors import DeadlineError
from deployments.execution.awaiting import together, within


def test_answers_keep_their_order():
    async def given(number):
        await asyncio.sleep(0.001 * (3 - number))
        return number

    assert asyncio.run(together(map(given, range(3)))) == [0, 1, 2]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_the_first_that_fails_and_a_caller_that_goes_end_the_others(is_cancelled):
    ended = []

    async def waiting():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def failing():
        if is_cancelled:
            await asyncio.Event().wait()
        raise ValueError

    async def run():
        task = asyncio.create_task(together([waiting(), failing(), waiting()]))
        for _ in range(3):
            await asyncio.sleep(0)
        if is_cancelled:
            task.cancel()
        with pytest.raises(asyncio.CancelledError if is_cancelled else ValueError):
            await task
        return list(ended)

    assert asyncio.run(run()) == [True, True]


def test_a_deadline_tells_of_the_whole_time_whoever_noticed_it():
    async def late_inside():
        async with within(60):
            raise DeadlineError("the request was not answered within its 1 s")

    async def slow():
        async with within(0.01):
            await asyncio.Event().wait()

    with pytest.raises(DeadlineError, match=r"within its 60 s"):
        asyncio.run(late_inside())
    with pytest.raises(DeadlineError, match=r"within its 0\.01 s"):
        asyncio.run(slow())


def test_another_time_that_is_up_inside_is_no_deadline():
    async def run():
        async with within(60):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(run())
