"""Several answers that are awaited together, and within the time that a request has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from deployments.batching.waiting import late
from deployments.errors import DeadlineError

Answer = TypeVar("Answer")


async def together(answers: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """All of them, in their order; the first that fails ends the others, and so does a caller that goes."""
    tasks = [asyncio.ensure_future(answer) for answer in answers]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def within(timeout_s: float | None) -> AsyncIterator[None]:
    """End what is inside after so many seconds; a part of it that had less time, and says so, knows of its own alone.

    Raises:
        DeadlineError: they have passed.
    """
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            yield
    except (TimeoutError, DeadlineError) as error:
        if not isinstance(error, DeadlineError) and not limit.expired():
            raise
        raise late(timeout_s or 0.0) from error
