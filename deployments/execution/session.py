"""An artifact's model, ready to predict: its graph, or its parts one after the other."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.batching.calls import Run
from deployments.batching.pace import Pace
from deployments.batching.padding import padding_for
from deployments.execution.graph_session import Accelerator, GraphSession
from deployments.execution.rows import LENGTH, ones, why_not_by_rows
from deployments.oip.tensors import Array
from optimization.artifact.manifest import TensorSpec
from optimization.artifact.store import Artifact

logger = logging.getLogger(__name__)

QUICK_S = 0.0005
"""Handing a batch to a thread and back costs up to this much while the event loop is busy."""
GAIN = 1.05
"""A batch of twice the size must answer at least so many times the samples per second to be worth its latency."""
WARM_UP_S = 1.0
"""Longest a batch is tried while warming up: larger ones would take longer."""


class Session:
    """The model of an artifact, loaded and warm. `run` may be called from any thread.

    With `cache`, its weights are mapped from a file that all sessions of this node share; on a GPU they lie there.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        num_threads: int,
        max_batch_size: int,
        cache: Path | None = None,
        accelerator: Accelerator = "cpu",
    ) -> None:
        """`accelerator` is `gpu` where it must be one, `auto` where the CPU will do if there is none.

        Raises:
            ArtifactError: the artifact's graphs cannot be run, or not on the GPU that is demanded.
        """
        manifest = artifact.manifest
        self._parts = [
            GraphSession(artifact, part, num_threads=num_threads, cache=cache, accelerator=accelerator)
            for part in manifest.graphs
        ]
        self._outputs = [spec.name for spec in manifest.outputs]
        # Of a single thread's work its own time tells, whatever else the machine does: replicas start side by side.
        is_alone = num_threads == 1 and not any(part.is_on_gpu for part in self._parts)
        self._clock = time.thread_time if is_alone else time.perf_counter
        self.run: Run = self._parts[0].run if len(self._parts) == 1 else self._run_in_turn
        """Outputs by name for inputs by name; raises `RequestError` where an input that is text is not UTF-8."""
        self.pace = Pace()
        """How long a batch takes, from warming up."""
        uneven = why_not_by_rows(self.run, manifest.inputs, manifest.outputs)
        if uneven:
            logger.warning("model %s answers one request a call: %s", manifest.name, uneven)
        self.is_batched = not uneven
        """Whether it answers row by row, so that requests may share a call."""
        padding = padding_for(manifest.inputs, manifest.outputs)
        self.max_batch_size = self._warm_up(
            manifest.inputs, max_batch_size if self.is_batched else 1, LENGTH if padding else 1
        )
        """The largest batch that pays: at most what was asked for, 1 where requests share no call."""
        self.is_quick = self.pace.duration_s(self.max_batch_size * (LENGTH if padding else 1)) < QUICK_S
        """Whether even the largest batch takes so little that it may run in the event loop."""

    def _run_in_turn(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Each part after those before it, given what they and the request gave."""
        tensors = dict(feeds)
        for part in self._parts:
            tensors |= part.run({name: tensors[name] for name in part.inputs})
        return {name: tensors[name] for name in self._outputs}

    def _warm_up(self, inputs: Sequence[TensorSpec], limit: int, length: int) -> int:
        """Run batches of 1, 2, 4, ... until larger ones answer no more samples per second; the last that did."""
        best, rate, size = 1, 0.0, 1
        while True:
            duration_s = self._seconds(ones(inputs, size))
            self.pace.learn(size * length, duration_s)
            # A quick model gains by fewer calls, whatever the clock says.
            if duration_s < QUICK_S or size / duration_s > GAIN * rate:
                best, rate = size, max(rate, size / duration_s)
            if size == limit or size == 4 * best or 2 * duration_s > WARM_UP_S:
                return best
            size = min(2 * size, limit)

    def _seconds(self, feeds: Mapping[str, Array]) -> float:
        """How long the model takes for `feeds` once warm: the best of a few."""
        self.run(feeds)
        durations: list[float] = []
        while len(durations) < 5 and sum(durations) < WARM_UP_S / 10:
            began = self._clock()
            self.run(feeds)
            durations.append(self._clock() - began)
        return min(durations)
