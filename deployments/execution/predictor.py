"""One loaded version of a model: tensors in, tensors out. Knows neither HTTP nor Ray.

    ids -> rows (deployments.embeddings.inputs)
    tensors -> answer cache -+-> batcher -> run -> tensors
                             |      |
                             |   meters, statistics, pace
                             +-> of many rows: shared out over the replicas (deployments.scatter.scatter)

HTTP and gRPC decode and encode around it; whatever else asks a model, in this process or by Ray, asks it here.
"""

import time
from collections.abc import Mapping

from deployments.batching.admission import Limits
from deployments.batching.batcher import Batcher
from deployments.batching.calls import NotByRowsError, Run
from deployments.batching.pace import Pace
from deployments.batching.padding import padding_for
from deployments.batching.parts import UnlikePartsError
from deployments.embeddings.inputs import EmbeddedInputs
from deployments.execution.answer_cache import AnswerCache, digest_of
from deployments.execution.meters import ModelMeters
from deployments.execution.prediction import BatchDone, Prediction
from deployments.execution.rows import LENGTH
from deployments.oip.statistics import Statistics
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.scatter.scatter import Scatter
from optimization.artifact.manifest import Manifest
from telemetry.emitting.emitter import Emitter

_USUAL = Urgency()


class Predictor:
    """Answers with `run`, a batch at a time. All methods belong to one event loop."""

    def __init__(
        self,
        manifest: Manifest,
        run: Run,
        *,
        limits: Limits,
        inline: bool,
        pace: Pace | None = None,
        cache: AnswerCache | None = None,
        scatter: Scatter | None = None,
        embedded: EmbeddedInputs | None = None,
        emitter: Emitter,
    ) -> None:
        """`inline` runs the model in the event loop, `pace` knows how long it takes, `cache` keeps answers, `scatter`
        shares large requests out over other replicas, `embedded` puts rows of tables in place of ids."""
        self.manifest = embedded.manifest if embedded else manifest
        self.limits = limits
        self.is_inline = inline
        self.keeps_answers = cache is not None
        self.statistics = Statistics(manifest.name, manifest.version)
        padding = padding_for(manifest.inputs, manifest.outputs)
        self.speed = _speed(pace, limits.max_batch_size * (LENGTH if padding else 1))
        """Work per second in the largest batch, as measured before the first request; 0 where it was not."""
        self._cache = cache
        self._scatter = scatter
        self._embedded = embedded
        self._batcher = Batcher(
            run,
            limits,
            inline=inline,
            report=self._count,
            pace=pace,
            padding=padding,
        )
        self._meters = ModelMeters(emitter, manifest.version, lambda: self._batcher.queue_share)

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        if self._embedded is not None:
            self._embedded.start()
        self._batcher.start()
        self._meters.start()

    async def stop(self) -> None:
        """Finish what is under way, refuse what waits and let go of the model."""
        await self._batcher.stop()
        self._meters.stop()

    def admit(self) -> None:
        """Refuse early, before a request is read, what `predict` would refuse of a usual one.

        Raises:
            OverloadedError: as many requests wait as may.
            UnavailableError: it does not run.
        """
        self._batcher.admit()

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> dict[str, Array]:
        """The model's outputs by name for inputs by name, of types and shapes as in its manifest, or raw input in their
        place. Rows keep their order, however many calls they take.

        Raises:
            RequestError: the inputs do not fit together, or an element cannot be used.
            DeadlineError: the time that `urgency` gives has passed.
            OverloadedError: as many requests wait as may, or it would be late.
            UnavailableError: it is stopping.
        """
        return (await self.timed(tensors, urgency)).outputs

    async def timed(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> Prediction:
        """The same, with what became of the request on its way."""
        if self._embedded is not None:
            return await self._embedded.answered(tensors, urgency, self._timed)
        return await self._timed(tensors, urgency)

    def problem(self) -> str | None:
        """Why it cannot answer at the moment, though it is loaded, if so."""
        return self._embedded.problem() if self._embedded is not None else None

    async def _timed(self, tensors: Mapping[str, Array], urgency: Urgency) -> Prediction:
        digest = b""
        if self._cache is not None:
            digest = digest_of(tensors)
            known = self._cache.get(digest)
            self._meters.looked_up(hit=known is not None)
            if known is not None:
                return Prediction(outputs=known, is_cached=True)
        if self._scatter is not None and self._scatter.is_large(tensors):
            prediction = await self._shared_out(self._scatter, tensors, urgency)
        else:
            prediction = await self._batcher.submit(tensors, priority=urgency.rank, timeout_s=urgency.timeout_s)
        self._meters.queued(prediction)
        if self._cache is not None:
            self._cache.put(digest, prediction.outputs)
        return prediction

    async def part(self, tensors: Mapping[str, Array], urgency: Urgency) -> dict[str, Array]:
        """Outputs for some rows of a request that another replica got: it is that one's to count and to keep."""
        self._batcher.admit_rows(tensors)
        return await self._rows(tensors, urgency)

    async def _shared_out(self, scatter: Scatter, tensors: Mapping[str, Array], urgency: Urgency) -> Prediction:
        """The answer to a request of many rows, together with other replicas where that is worth it."""
        began_s = time.monotonic()
        rows = self._batcher.admit_rows(tensors)
        alone_s = self._batcher.seconds_for(rows, tensors)
        try:
            prediction = await scatter.gather(tensors, rows, urgency, here=self._rows, alone_s=alone_s)
        except (NotByRowsError, UnlikePartsError):
            prediction = None  # it is put together by the model itself, in one call
        if prediction is not None:
            return prediction
        left_s = None if urgency.timeout_s is None else max(0.0, urgency.timeout_s - (time.monotonic() - began_s))
        return await self._batcher.submit(tensors, priority=urgency.rank, timeout_s=left_s)

    async def _rows(self, tensors: Mapping[str, Array], urgency: Urgency) -> dict[str, Array]:
        rows = len(next(iter(tensors.values())))
        prediction = await self._batcher.submit_part(tensors, rows, priority=urgency.rank, timeout_s=urgency.timeout_s)
        return prediction.outputs

    def _count(self, done: BatchDone) -> None:
        self._meters.batch(done)
        self.statistics.batch(done)


def _speed(pace: Pace | None, work: int) -> float:
    duration_s = pace.duration_s(work) if pace else 0.0
    return work / duration_s if duration_s else 0.0
