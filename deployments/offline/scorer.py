"""A loaded model that answers some rows: those of about one length share a batch, and a bad one spoils no other."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deployments.batching.admission import Limits
from deployments.batching.padding import MASK, alike, padding_for
from deployments.execution.predictor import Predictor
from deployments.execution.prepack import cache_folder
from deployments.execution.session import Session
from deployments.oip.tensors import Array
from deployments.raw.inputs import accepting_raw
from optimization.artifact.store import Artifact
from telemetry.emitting.emitter import Emitter

BATCH = 32
"""Rows of a call. Nobody waits for one row, so that a call is as large as still gains, whatever its latency."""
Tensors = Mapping[str, Sequence[Array | None]]
"""By input or output, a tensor for each row, without the batch dimension; none for a bad row."""


class Scorer:
    """Answers with one thread; all its calls come from one thread."""

    def __init__(self, artifact: Artifact, emitter: Emitter) -> None:
        """Load the model, its packed weights shared with the replicas of the node; `emitter` reports its calls.

        Raises:
            ArtifactError: it cannot be run here.
        """
        manifest = artifact.manifest
        session = Session(artifact, num_threads=1, max_batch_size=BATCH, cache=cache_folder())
        self._most_rows = BATCH if session.is_batched else 1
        self._predictor = Predictor(
            manifest,
            accepting_raw(artifact, session.run, num_threads=1),
            limits=Limits(max_batch_size=self._most_rows, is_batched=session.is_batched),
            inline=True,
            pace=session.pace,
            emitter=emitter,
        )
        self._padding = padding_for(manifest.inputs, manifest.outputs)
        self._names = [spec.name for spec in manifest.outputs]
        self._runner = asyncio.Runner()
        self._runner.run(self._start())

    def close(self) -> None:
        """Let go of the model."""
        self._runner.run(self._predictor.stop())
        self._runner.close()

    def answers(self, tensors: Tensors, errors: list[str | None]) -> dict[str, list[Array | None]]:
        """The outputs of the rows that have no error; what the model refuses is noted in `errors`."""
        return self._runner.run(self._answers(tensors, errors))

    async def _start(self) -> None:
        self._predictor.start()

    async def _answers(self, tensors: Tensors, errors: list[str | None]) -> dict[str, list[Array | None]]:
        outputs: dict[str, list[Array | None]] = {name: [None] * len(errors) for name in self._names}
        good = [at for at, error in enumerate(errors) if error is None]
        waiting = list(self._batches(tensors, good))[::-1]
        while waiting:
            batch = waiting.pop()
            feeds = {name: self._stacked(name, [rows[at] for at in batch]) for name, rows in tensors.items()}
            try:
                found = await self._predictor.predict(feeds)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - ONNX Runtime has many, and a row may be to blame for any
                half = len(batch) // 2
                if half:
                    waiting += [batch[half:], batch[:half]]
                else:
                    errors[batch[0]] = f"the model refuses the row: {error}"
                continue
            for name, array in found.items():
                for place, at in enumerate(batch):
                    outputs[name][at] = self._own(name, array[place], tensors, at)
        return outputs

    def _batches(self, tensors: Tensors, good: Sequence[int]) -> Iterator[list[int]]:
        """Rows that may share a call: of one shape, or of about one length where they are padded."""
        is_padded = self._padding is not None
        is_exact = not (self._padding and self._padding.outputs) or MASK in tensors
        most = self._most_rows if is_exact else 1
        marks = {at: self._length(tensors, at) if is_padded else self._shapes(tensors, at) for at in good}
        batch: list[int] = []
        for at in sorted(good, key=marks.__getitem__):
            fits = not batch or (alike(marks[batch[0]], marks[at]) if is_padded else marks[batch[0]] == marks[at])
            if batch and (len(batch) == most or not fits):
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _length(self, tensors: Tensors, at: int) -> Any:
        """Tokens of a row; of raw text a guess."""
        assert self._padding is not None
        return self._padding.length({name: _row(rows[at])[None] for name, rows in tensors.items()})

    def _shapes(self, tensors: Tensors, at: int) -> Any:
        return [_row(rows[at]).shape for rows in tensors.values()]

    def _stacked(self, name: str, rows: Sequence[Array | None]) -> Array:
        arrays = [_row(row)[None] for row in rows]
        return self._padding.stack(name, arrays) if self._padding else np.concatenate(arrays)

    def _own(self, name: str, row: Array, tensors: Tensors, at: int) -> Array:
        """The row's output, as it is without padding."""
        if self._padding is None or name not in self._padding.outputs or MASK not in tensors:
            return row
        return row[: len(_row(tensors[MASK][at]))]


def _row(tensor: Array | None) -> Array:
    assert tensor is not None, "a row without an error has its tensors"
    return tensor
