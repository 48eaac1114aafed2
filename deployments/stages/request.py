"""One request on its way through the stages of a pipeline.

    tensors of the request -> each stage, once all that it waits for has answered, its rows -> outputs

What a stage gives stays where it is until somebody takes it. What has gone with the process that gave it is made again,
once.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deployments.batching.calls import Outputs
from deployments.batching.waiting import Inputs
from deployments.errors import UnavailableError
from deployments.execution.awaiting import together
from deployments.oip.tensors import Array
from deployments.oip.urgency import Urgency
from deployments.stages.asking import AskedStage, InputsGoneError
from deployments.stages.graph import Condition, Feed, Graph, Source
from deployments.stages.stage_call import (
    Rows,
    StageCall,
    StageFailedError,
    Stored,
    Tensor,
    TensorGoneError,
    TensorStore,
    stored,
)


class StagedRequest:
    """Computes one request."""

    def __init__(
        self,
        graph: Graph,
        stages: Mapping[str, AskedStage],
        versions: Mapping[str, str],
        store: TensorStore,
        inputs: Inputs,
        urgency: Urgency,
    ) -> None:
        """`versions` are those that its stages answer by, by stage."""
        self._graph = graph
        self._stages = stages
        self._versions = versions
        self._store = store
        self._urgency = urgency
        self._ends_s = None if urgency.timeout_s is None else time.monotonic() + urgency.timeout_s
        self._tensors: dict[Source, Tensor] = {Source(stage=None, tensor=name): array for name, array in inputs.items()}
        self._masks: dict[Source, Rows] = {}
        self._again: dict[str, asyncio.Task[None]] = {}

    async def outputs(self) -> Outputs:
        """What the whole gives; cancelled, all that is under way for it ends.

        Raises:
            RequestError: it cannot be answered, or not in its time, or a stage has no replica left.
            VersionGoneError: a version was let go of meanwhile.
            StageFailedError: a stage raised what is no fault of the request's.
        """
        order = self._graph.order
        try:
            if all(len(side_by_side) == 1 for side_by_side in order):
                for (name,) in order:
                    await self._run(name)
            else:
                await self._side_by_side([name for names in order for name in names])
            return {name: await self._array(feed) for name, feed in self._graph.gives.items()}
        finally:
            for task in self._again.values():
                task.cancel()

    async def _side_by_side(self, names: list[str]) -> None:
        """Each stage as soon as all that it waits for has answered."""
        tasks: dict[str, asyncio.Task[None]] = {}

        async def run(name: str) -> None:
            for other in self._graph.waits_for(name):
                await asyncio.shield(tasks[other])
            await self._run(name)

        for name in names:
            tasks[name] = asyncio.ensure_future(run(name))
        await together(tasks.values())

    async def _run(self, name: str) -> None:
        """Have a stage answer, unless no row is for it."""
        condition = self._graph.conditions.get(name)
        rows = None if condition is None else await self._rows(condition)
        if rows is not None and not rows.any():
            return
        if rows is not None and rows.all():
            rows = None
        gone: InputsGoneError | TensorGoneError | None = None
        for _ in range(2):
            try:
                outputs = await self._stages[name].ask(await self._call(name, rows))
            except InputsGoneError as error:
                gone = error
                sources = [source for each in error.inputs for source in self._graph.feeds[name][each]]
                await asyncio.gather(*(self._make_again(source) for source in sources))
            else:
                self._tensors |= {Source(stage=name, tensor=each): tensor for each, tensor in outputs.items()}
                return
        raise UnavailableError(f"what stage {name!r} is given went twice: send the request again") from gone

    async def _call(self, name: str, rows: Rows | None) -> StageCall:
        left_s = None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())
        feeds = self._graph.feeds[name]
        is_remote = self._stages[name].is_remote
        own = self._graph.conditions.get(name)
        inputs: dict[str, Tensor] = {}
        all_rows: set[str] = set()
        for each, feed in feeds.items():
            inputs[each] = await self._given(feed, is_remote=is_remote)
            if rows is not None and (len(feed) > 1 or self._condition(feed[0]) != own):
                all_rows.add(each)
        return StageCall(
            version=self._version(name),
            inputs=inputs,
            urgency=replace(self._urgency, timeout_s=left_s),
            rows=rows if all_rows else None,
            all_rows=frozenset(all_rows),
        )

    def _version(self, name: str) -> str:
        version = self._versions.get(name)
        if version is None:
            raise UnavailableError(f"stage {name!r} has no replica that answers yet: try again")
        return version

    async def _given(self, feed: Feed, *, is_remote: bool) -> Tensor:
        """One input; where another process takes it and it is large, from shared memory, which it gets into once."""
        if len(feed) > 1:
            merged = await self._array(feed)
            return stored(merged, self._store) if is_remote else merged
        (source,) = feed
        if is_remote:
            self._tensors[source] = stored(self._tensors[source], self._store)
        return self._tensors[source]

    async def _rows(self, condition: Condition) -> Rows:
        source = condition.source
        mask = self._masks.get(source)
        if mask is None:
            mask = self._masks[source] = await self._array((source,))
        return mask if condition.wanted else ~mask

    async def _array(self, feed: Feed) -> Array:
        """A tensor; of two, each row from the one that has it."""
        if len(feed) == 1:
            return await self._fetched(feed[0])
        one, other = feed
        condition = self._condition(one)
        assert condition is not None, "the graph was checked"
        rows = await self._rows(condition)
        if rows.all():
            return await self._fetched(one)
        if not rows.any():
            return await self._fetched(other)
        first, second = await self._fetched(one), await self._fetched(other)
        for source, array, count in ((one, first, rows.sum()), (other, second, (~rows).sum())):
            if len(array) != count or array.shape[1:] != first.shape[1:]:
                raise StageFailedError(
                    f"stage {source.stage!r} must give a row of {list(first.shape[1:])} for each of {count}, "
                    f"got {list(array.shape)}"
                )
        merged = np.empty((len(rows), *first.shape[1:]), first.dtype)
        merged[rows], merged[~rows] = first, second
        return merged

    async def _fetched(self, source: Source) -> Array:
        tensor = self._tensors[source]
        if not isinstance(tensor, Stored):
            return tensor
        try:
            return await self._store.get(tensor)
        except TensorGoneError:
            await self._make_again(source)
        tensor = self._tensors[source]
        try:
            return await self._store.get(tensor) if isinstance(tensor, Stored) else tensor
        except TensorGoneError as error:
            raise UnavailableError(f"what stage {source.stage!r} gave went twice: send the request again") from error

    async def _make_again(self, source: Source) -> None:
        """Ask the stage that gave it once more; whoever else misses something of it waits for the same."""
        name = source.stage
        if name is None:
            raise UnavailableError("the request's tensors have gone: send it again")
        if name not in self._again:
            self._again[name] = asyncio.ensure_future(self._run(name))
        await asyncio.shield(self._again[name])

    def _condition(self, source: Source) -> Condition | None:
        return None if source.stage is None else self._graph.conditions.get(source.stage)
