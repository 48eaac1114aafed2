"""What is watched of one version's answers. A request pays for a few comparisons; all else is done beside it.

request answered -> sampled rows -> a thread: views -> sketches
                 -> shadow: the teacher's answer
                 -> feedback: kept by id until its label comes
                 -> samples: kept on disk
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deployments.monitoring.feedback import Feedback
from deployments.monitoring.samples import Samples
from deployments.monitoring.sampling import ROWS_OF_REQUEST, RowRate
from deployments.monitoring.shadow import Shadow
from deployments.monitoring.sketches import Prepare, Sketches
from deployments.oip.tensors import Array
from telemetry.failures import Failures

logger = logging.getLogger(__name__)

DRAIN_S = 1.0
"""Seconds between two looks at what was sampled."""
MOST_WAITING = 64
"""Samples that wait for the thread; any further one replaces the oldest."""

_ONE_ROW = np.zeros(1, np.int64)
_Rows = tuple[dict[str, Array], dict[str, Array]]


class Monitor:
    """Sees every answer; `start` and `stop` belong to the model's event loop."""

    def __init__(
        self,
        *,
        sketches: Sketches | None = None,
        prepare: Prepare = lambda rows: rows,
        shadow: Shadow | None = None,
        feedback: Feedback | None = None,
        samples: Samples | None = None,
    ) -> None:
        """`prepare` makes the model's own tensors of raw input."""
        self.feedback = feedback
        self.shadow = shadow
        self._samples = samples
        self._sketches = sketches
        self._prepare = prepare
        self._rate = RowRate()
        self._random = np.random.default_rng()
        self._waiting: deque[_Rows] = deque(maxlen=MOST_WAITING)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = Failures(logger)

    def start(self) -> None:
        """Begin to watch; needs a running event loop."""
        if self.shadow is not None:
            self.shadow.start()
        if self._samples is not None:
            self._samples.start()
        if self._sketches is not None:
            self._thread = threading.Thread(target=self._drain_forever, name="sketches", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Stop watching; what waits is not counted."""
        self._stopping.set()
        if self._samples is not None:
            await asyncio.to_thread(self._samples.stop)
        if self.shadow is not None:
            await self.shadow.stop()

    def see(self, request_id: str | None, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """A request was answered."""
        if self._sketches is not None and self._rate.is_open():
            self._sample(inputs, outputs)
        if self.shadow is not None:
            with self._failures.contained("shadowing a request"):
                self.shadow.see(inputs, outputs)
        if self._samples is not None:
            with self._failures.contained("sampling a request"):
                self._samples.see(request_id, inputs)
        if self.feedback is not None and request_id:
            with self._failures.contained("keeping an answer for its label"):
                self.feedback.keep(request_id, inputs, outputs)

    def _sample(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Some rows of the request, at random."""
        num_rows = len(next(iter(inputs.values())))
        if not num_rows or any(len(array) != num_rows for array in outputs.values()):
            return
        taken = min(num_rows, ROWS_OF_REQUEST)
        rows = self._random.permutation(num_rows)[:taken] if num_rows > 1 else _ONE_ROW
        self._rate.took(taken)
        self._waiting.append((_taken(inputs, rows), _taken(outputs, rows)))

    def _drain_forever(self) -> None:
        while not self._stopping.wait(DRAIN_S):
            self.drain()

    def drain(self) -> None:
        """Count what was sampled; a request that cannot be looked at is left out."""
        began_s, num_rows = time.thread_time(), 0
        together: dict[tuple[object, ...], list[_Rows]] = {}
        while self._waiting:
            sample = self._waiting.popleft()
            together.setdefault(_form(sample), []).append(sample)
        for samples in together.values():
            inputs, outputs = (_joined([sample[side] for sample in samples]) for side in (0, 1))
            num_rows += len(next(iter(inputs.values())))
            with self._failures.contained("counting sampled rows"):
                assert self._sketches is not None, "samples are taken for sketches alone"
                self._sketches.count(self._prepare(inputs), outputs)
        self._rate.cost(time.thread_time() - began_s, num_rows)


def _form(sample: _Rows) -> tuple[object, ...]:
    """What samples must have alike to be looked at together."""
    return tuple((name, array.shape[1:], array.dtype) for side in sample for name, array in side.items())


def _taken(arrays: Mapping[str, Array], rows: NDArray[np.int64]) -> dict[str, Array]:
    """A copy of those rows, so that the memory of the request is let go."""
    return {name: array[rows] for name, array in arrays.items()}


def _joined(samples: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
