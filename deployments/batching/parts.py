"""A request that is larger than a call: answered by several, put together in the order of its rows."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deployments.batching.waiting import Inputs, Waiting, late
from deployments.errors import DeadlineError
from deployments.execution.prediction import Prediction

PARTS_AHEAD = 2
"""Parts of a request that are in the queue at a time: one is called, the next is ready, and others get their turn."""

Enqueue = Callable[[Inputs, int, float | None], Waiting]
"""Lets so many rows wait for a call, at most so many seconds."""


class UnlikePartsError(Exception):
    """What several calls gave for one request cannot be put together."""


async def in_parts(
    parts: Iterator[tuple[Inputs, int]],
    *,
    enqueue: Enqueue,
    let_go: Callable[[Waiting], None],
    timeout_s: float | None,
) -> Prediction:
    """The answer to a request from those to its `parts`; `let_go` is told when nobody waits for one any more.

    Raises:
        UnlikePartsError: the parts' outputs cannot be put together.
        DeadlineError: `timeout_s` passed.
    """
    now_s = asyncio.get_running_loop().time
    ends_s = None if timeout_s is None else now_s() + timeout_s
    ahead: deque[Waiting] = deque()
    answers: list[Prediction] = []
    try:
        for part, rows in parts:
            if len(ahead) == PARTS_AHEAD:
                answers.append(await ahead[0].answer)
                let_go(ahead.popleft())
            ahead.append(enqueue(part, rows, None if ends_s is None else ends_s - now_s()))
        while ahead:
            answers.append(await ahead[0].answer)
            let_go(ahead.popleft())
    except DeadlineError as error:  # which knows of the time that was left alone
        raise late(timeout_s or 0.0) from error
    finally:
        for waiting in ahead:
            let_go(waiting)
    return joined(answers)


def parts_of(inputs: Inputs, rows: int, most: int) -> Iterator[tuple[Inputs, int]]:
    """`inputs` in their order, at most so many rows at a time, and how many those are."""
    for begin in range(0, rows, most):
        end = min(begin + most, rows)
        yield {name: array[begin:end] for name, array in inputs.items()}, end - begin


def joined(parts: Sequence[Prediction]) -> Prediction:
    """The answer to a request from those to its parts.

    Raises:
        UnlikePartsError: their outputs differ in more than the number of rows.
    """
    first, last = parts[0], parts[-1]
    for name, array in first.outputs.items():
        if any(part.outputs[name].shape[1:] != array.shape[1:] for part in parts):
            raise UnlikePartsError(f"output {name!r} has rows of several shapes")
    return Prediction(
        outputs={name: np.concatenate([part.outputs[name] for part in parts]) for name in first.outputs},
        submitted_ns=first.submitted_ns,
        started_ns=first.started_ns,
        ended_ns=last.ended_ns,
        call=first.call,
    )
