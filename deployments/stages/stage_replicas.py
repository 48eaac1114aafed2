"""The replicas of a pipeline's stages, and calls of them: by their socket on this node, else by Ray.

Who there is, which versions each holds and which one all follow is in what they write for the agreement on a version.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.request_router import ReplicaID

from deployments import ray_private
from deployments.oip.tensors import Array
from deployments.replicas.agreement import Agreement, Reports, reports_prefix
from deployments.scatter.part import LostError
from deployments.scatter.remote import asked
from deployments.stages.plan import PlannedStage
from deployments.stages.socket import StageConnection, can_carry
from deployments.stages.stage_call import (
    StageAnswer,
    StageCall,
    StageReplica,
    Stored,
    TensorGoneError,
    is_large,
)

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""How late a new replica is found, at most; one that has gone is noticed by whoever calls it."""
CONNECT_S = 5.0
Address = tuple[str, str]
"""A node, and the path of a socket there."""


class RayStore:
    """Ray's object store; as `deployments.stages.stage_call.TensorStore`."""

    def put(self, array: Array) -> Stored:
        """Lay a tensor there; it stays as long as somebody has what names it, and this process lives."""
        return Stored(reference=ray.put(array))

    async def get(self, stored: Stored) -> Array:
        """The tensor, without a copy where it lies on this node.

        Raises:
            TensorGoneError: it is not there.
        """
        try:
            array: Array = await stored.reference
        except RayError as error:
            raise TensorGoneError(f"{type(error).__name__}") from error
        return array


class RemoteStage:
    """A replica of a stage in another process; as `deployments.stages.stage_call.StageReplica`."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self.actor = actor
        self._near: StageConnection | None = None
        self._is_large = False
        """Whether its last answer was: the next then comes by Ray, whose object store spares the copies."""

    async def connect(self) -> None:
        """Find its socket, if it is on this node."""
        try:
            async with asyncio.timeout(CONNECT_S):
                node, path = await asked(self.actor, "address", None)
                if node == ray.get_runtime_context().get_node_id():
                    self._near = await StageConnection.open(path)
        except LostError:
            pass  # whoever calls it will find the same
        except (OSError, TimeoutError) as error:
            logger.warning("replica %s is called by Ray, its socket does not answer: %s", self.name, error)

    def close(self) -> None:
        """Call it no more."""
        if self._near is not None:
            self._near.close()

    async def answer(self, call: StageCall) -> StageAnswer:
        """What it answers; cancelled there where the caller is.

        Raises:
            LostError, GoneError: it has gone, with the call or before.
        """
        if self._near is not None and not self._is_large and can_carry(call.inputs):
            answer = await self._near.answer(call)
        else:
            answer = await asked(self.actor, "answer_call", call)
        if isinstance(answer, dict):
            self._is_large = any(map(is_large, answer.values()))
        return answer


class StageReplicas:
    """Those of the stages that have replicas of their own, kept up to date; belongs to one event loop."""

    def __init__(self, stages: Mapping[str, PlannedStage]) -> None:
        self._own: ReplicaID = serve.get_replica_context().replica_id
        store = ray_private.KeyValueStore()
        self._remote = {name for name, stage in stages.items() if stage.declared.own_replicas}
        self._groups = {name: stage.group for name, stage in stages.items()}
        policies = {stage.group: stage.settings.version for stage in stages.values()}
        self._reports = {group: Reports(store, reports_prefix(group)) for group in policies}
        self._agreements = {group: Agreement(store, group, "", policy) for group, policy in policies.items()}
        self._found: dict[str, dict[str, RemoteStage]] = {name: {} for name in self._remote}
        self._agreed: dict[str, str] = {}
        self._looking = asyncio.Lock()

    def of(self, stage: str) -> Callable[[], list[StageReplica]]:
        """The replicas of a stage that are known at the time of the call."""
        return lambda: list(self._found[stage].values())

    def versions(self) -> dict[str, str]:
        """What each stage answers by."""
        return {name: self._agreed[group] for name, group in self._groups.items() if group in self._agreed}

    def missing(self) -> list[str]:
        """Stages of which no replica is known."""
        return [name for name, group in self._groups.items() if group not in self._agreed] + [
            name for name, found in self._found.items() if not found
        ]

    async def look(self) -> None:
        """See who has come and who has gone, and what they have agreed on."""
        async with self._looking:
            actors, self._agreed = await asyncio.to_thread(self._look)
            for name, found in self._found.items():
                for gone in found.keys() - actors[name].keys():
                    found.pop(gone).close()
                come = [RemoteStage(each, actor) for each, actor in actors[name].items() if each not in found]
                await asyncio.gather(*(replica.connect() for replica in come))
                found |= {replica.name: replica for replica in come}

    def keep_looking(self) -> "asyncio.Future[None]":
        """Look from now on, from time to time."""
        return asyncio.ensure_future(self._keep_looking())

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("the replicas of the stages cannot be looked for; trying again")
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Actors by stage and replica, those known as they are; and the version that each group follows."""
        actors: dict[str, dict[str, Any]] = {name: {} for name in self._remote}
        for reports in self._reports.values():
            for key in reports.live():
                _, stage, unique_id = key.split(":")
                if stage not in self._remote:
                    continue
                known = self._found[stage].get(unique_id)
                actor = known.actor if known else ray_private.replica_actor(self._own, unique_id, stage)
                if actor is not None:
                    actors[stage][unique_id] = actor
        told = {group: agreement.agreed() for group, agreement in self._agreements.items()}
        return actors, {group: version for group, version in told.items() if version is not None}


def own_address(path: str) -> Address:
    """Where this process listens at `path`."""
    return ray.get_runtime_context().get_node_id(), path
