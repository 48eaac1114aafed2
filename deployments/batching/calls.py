"""One call of the model for several requests: their inputs stacked, and to each of them its own rows of the outputs.

    batch -> stack -> run -> as many rows as went in? -> each request its rows
                       |              no -> each request a call of its own
                     fails -> each half of the batch on its own, until what is bad has failed alone

Whatever goes wrong is some request's outcome: nothing is raised.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deployments.batching.padding import Padding
from deployments.batching.waiting import Inputs, Waiting
from deployments.execution.prediction import BatchDone
from deployments.oip.tensors import Array

Outputs = dict[str, Array]
Run = Callable[[Inputs], Outputs]


class NotByRowsError(Exception):
    """An output's first dimension is not the batch: nobody can tell whose rows are whose."""


@dataclass(kw_only=True, eq=False, slots=True)
class Done:
    """One call that is over; the times are nanoseconds since the epoch."""

    batch: Sequence[Waiting]
    outcome: Sequence[Outputs] | Exception
    """Outputs for each request, or what went wrong for all of them."""
    rows: int
    work: int
    started_ns: int
    stacked_ns: int
    ended_ns: int
    shared_ns: int
    raw_s: float
    uneven: str = ""
    """Why these requests had to be called apart from those they came with, if they had."""

    def counted(self) -> BatchDone:
        """The same for telemetry."""
        return BatchDone(
            num_samples=self.rows,
            duration_s=(self.ended_ns - self.started_ns) / 1e9,
            input_s=(self.stacked_ns - self.started_ns) / 1e9,
            output_s=(self.shared_ns - self.ended_ns) / 1e9,
            raw_s=self.raw_s,
            num_requests=len(self.batch),
        )


def call(run: Run, batch: Sequence[Waiting], padding: Padding | None) -> list[Done]:
    """Answer `batch` in one call, or where that fails in several."""
    started_ns = stacked_ns = ended_ns = time.time_ns()
    outcome: Sequence[Outputs] | Exception
    try:
        inputs = batch[0].inputs if len(batch) == 1 else _stack(batch, padding)
        stacked_ns = time.time_ns()
        outputs = run(inputs)
        ended_ns = time.time_ns()
        outcome = _shares(batch, outputs, padding)
    except NotByRowsError as error:
        if len(batch) > 1:
            return [replace(done, uneven=str(error)) for each in batch for done in call(run, [each], padding)]
        outcome = error
    except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to its requests
        if len(batch) > 1:
            middle = len(batch) // 2
            return [*call(run, batch[:middle], padding), *call(run, batch[middle:], padding)]
        outcome = error
    if len(batch) == 1:
        rows, longest = batch[0].rows, batch[0].length
    else:
        rows, longest = sum([each.rows for each in batch]), max([each.length for each in batch])
    return [
        Done(
            batch=batch,
            outcome=outcome,
            rows=rows,
            work=rows * longest,
            started_ns=started_ns,
            stacked_ns=stacked_ns,
            ended_ns=ended_ns,
            shared_ns=time.time_ns(),
            raw_s=getattr(run, "raw_s", 0.0),  # of `deployments.raw.inputs.RawRun`
            uneven=str(outcome) if isinstance(outcome, NotByRowsError) else "",
        )
    ]


def _stack(batch: Sequence[Waiting], padding: Padding | None) -> Inputs:
    stack = padding.stack if padding else _concatenate
    return {name: stack(name, [waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}


def _shares(batch: Sequence[Waiting], outputs: Outputs, padding: Padding | None) -> list[Outputs]:
    if len(batch) == 1 and batch[0].is_alone:
        return [outputs]
    _check_rows(outputs, sum([waiting.rows for waiting in batch]))
    if len(batch) == 1:
        return [outputs]
    shares: list[Outputs] = []
    begin = 0
    for waiting in batch:
        own = slice(begin, begin + waiting.rows)
        begin += waiting.rows
        if padding is None:
            shares.append({name: array[own] for name, array in outputs.items()})
        else:
            shares.append({name: padding.cut(name, array[own], waiting.length) for name, array in outputs.items()})
    return shares


def _check_rows(outputs: Mapping[str, Array], rows: int) -> None:
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise NotByRowsError(f"output {name!r} has shape {list(array.shape)} for {rows} rows")


def _concatenate(_: str, arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays)
