"""A pipeline's predictor: a request's tensors in, the outputs of its ends out.

admit -> raw input prepared -> stages, by one version of each artifact -> outputs
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from deployments.batching.admission import Limits
from deployments.batching.waiting import Inputs
from deployments.errors import OverloadedError, RequestError, UnavailableError
from deployments.execution.awaiting import within
from deployments.execution.prediction import BatchDone, Prediction
from deployments.oip.statistics import Statistics
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.stages.asking import AskedStage, VersionGoneError
from deployments.stages.plan import Plan
from deployments.stages.request import StagedRequest
from deployments.stages.stage_call import TensorStore
from optimization.artifact.raw.prepare import Prepare, RawInputError

RETRY_AFTER_S = 1
_USUAL = Urgency()

Versions = Callable[[], Mapping[str, str]]
"""The version that each stage answers by, by its name; without those of which no replica is known."""


class PipelinePredictor:
    """Answers by asking stages; as `deployments.execution.predicting.Predicting`. Belongs to one event loop."""

    is_inline = False
    keeps_answers = False

    def __init__(
        self,
        plan: Plan,
        stages: Mapping[str, AskedStage],
        versions: Versions,
        look: Callable[[], Awaitable[None]],
        store: TensorStore,
        *,
        prepare: Prepare | None = None,
    ) -> None:
        """`look` looks for newer versions at once; `prepare` makes all that the pipeline takes of raw input."""
        self.manifest = plan.manifest
        self.limits = limits_of(plan)
        self.statistics = Statistics(plan.manifest.name, plan.manifest.version)
        self._graph = plan.graph
        self._stages = stages
        self._versions = versions
        self._look = look
        self._store = store
        self._prepare = prepare
        self._raw = plan.manifest.preprocessing.input if plan.manifest.preprocessing else None
        self._most = plan.settings.max_queue_size
        self._ongoing = 0
        self._runs = False
        self._idle = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="raw")

    @property
    def ongoing(self) -> int:
        """Requests under way."""
        return self._ongoing

    def start(self) -> None:
        """Begin to take requests; needs a running event loop."""
        self._runs = True

    async def stop(self) -> None:
        """Answer what is under way, and take no more."""
        self._runs = False
        while self._ongoing:
            self._idle.clear()
            await self._idle.wait()
        self._thread.shutdown()

    def admit(self) -> None:
        """Refuse early, before a request is read, what `predict` would refuse of a usual one.

        Raises:
            OverloadedError: as many requests are under way as may.
            UnavailableError: it does not run.
        """
        if not self._runs:
            raise UnavailableError("the replica is not taking requests: send the request again")
        if self._ongoing >= self._most:
            raise OverloadedError(
                f"{self._ongoing} requests are under way already: try again later", retry_after_s=RETRY_AFTER_S
            )

    def problem(self) -> str | None:
        """None that is known before a stage is asked."""
        return None

    async def predict(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> dict[str, Array]:
        """The outputs by name for inputs by name, or raw input in their place.

        Raises:
            RequestError: a stage cannot answer it; or none of its replicas is there to do so.
            DeadlineError: the time that `urgency` gives has passed.
            OverloadedError: as many requests are under way as may, here or at a stage.
            StageFailedError: a stage raised what is no fault of the request's.
        """
        return (await self.timed(tensors, urgency)).outputs

    async def timed(self, tensors: Mapping[str, Array], urgency: Urgency = _USUAL) -> Prediction:
        """The same, with when it began and ended."""
        self.admit()
        self._ongoing += 1
        began_ns = time.time_ns()
        try:
            async with within(urgency.timeout_s):
                outputs = await self._outputs(await self._prepared(tensors), urgency)
        finally:
            self._ongoing -= 1
            self._idle.set()
        ended_ns = time.time_ns()
        self._count(outputs, (ended_ns - began_ns) / 1e9)
        return Prediction(outputs=outputs, submitted_ns=began_ns, started_ns=began_ns, ended_ns=ended_ns)

    async def _prepared(self, tensors: Inputs) -> Inputs:
        if self._prepare is None or self._raw is None or self._raw not in tensors:
            return tensors
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._prepare, tensors[self._raw])
        except RawInputError as error:
            raise RequestError(str(error)) from error

    async def _outputs(self, tensors: Inputs, urgency: Urgency) -> dict[str, Array]:
        """By one version of each artifact; where that was let go of meanwhile, once more by its successor."""
        began_s = time.monotonic()
        try:
            return await self._computed(tensors, urgency)
        except VersionGoneError:
            await self._look()
        left_s = None if urgency.timeout_s is None else max(0.0, urgency.timeout_s - (time.monotonic() - began_s))
        try:
            return await self._computed(tensors, replace(urgency, timeout_s=left_s))
        except VersionGoneError as error:
            raise UnavailableError(f"{error}: send the request again") from error

    def _computed(self, tensors: Inputs, urgency: Urgency) -> Awaitable[dict[str, Array]]:
        request = StagedRequest(self._graph, self._stages, self._versions(), self._store, tensors, urgency)
        return request.outputs()

    def _count(self, outputs: Mapping[str, Array], duration_s: float) -> None:
        rows = len(next(iter(outputs.values()))) if self.limits.is_batched else 1
        self.statistics.batch(BatchDone(num_samples=rows, duration_s=duration_s, input_s=0.0, output_s=0.0))


def limits_of(plan: Plan) -> Limits:
    """What the whole takes: the least of what its stages do."""
    settings = [stage.settings for stage in plan.stages.values()]
    first = {spec.shape[0] if spec.shape else 0 for spec in (*plan.graph.inputs, *plan.graph.outputs)}
    return Limits(
        max_batch_size=min(each.max_batch_size for each in settings),
        max_request_samples=min(each.max_request_samples for each in settings),
        max_queue_size=plan.settings.max_queue_size,
        is_batched=all(isinstance(size, str) for size in first),
    )
