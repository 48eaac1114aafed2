"""The other replicas of a model, and parts asked of them, by Ray.

Who there is, and which versions each holds, is in the reports that all write for the agreement on a version. A part
goes from one replica's actor to the other's, as Serve's handles send calls, past every port; its tensors go by Ray's
object store.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.request_router import ReplicaID

from deployments import ray_private
from deployments.batching.calls import Outputs
from deployments.replicas.agreement import Report, Reports, reports_prefix
from deployments.scatter.part import LostError, Part, Refusal, Replica, UnansweredError

LOOK_EVERY_S = 1.0


class RemoteReplica:
    """A replica in another process, by its actor; as `deployments.scatter.part.Replica`."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self._actor = actor

    async def answer(self, part: Part) -> Outputs:
        """Outputs for its rows; cancelled there where the caller is.

        Raises:
            UnansweredError: it refuses, or has gone.
            RequestError: the request itself cannot be answered, or not in its time.
        """
        answer: Outputs | Refusal = await asked(self._actor, "answer_part", part)
        if isinstance(answer, Refusal):
            raise UnansweredError(answer.reason)
        return answer


class OtherReplicas:
    """Those of this replica's own application; looked for when a large request comes, and not before."""

    def __init__(self, model: str) -> None:
        self._own: ReplicaID = serve.get_replica_context().replica_id
        self._reports = Reports(ray_private.KeyValueStore(), reports_prefix(model))
        self._looking = asyncio.Lock()
        self._looked_s = float("-inf")
        self._found: dict[str, tuple[Report, RemoteReplica]] = {}

    async def __call__(self, version: str) -> list[Replica]:
        """Those that have said that they hold `version`."""
        async with self._looking:
            if time.monotonic() - self._looked_s >= LOOK_EVERY_S:
                self._found = await asyncio.to_thread(self._look)
                self._looked_s = time.monotonic()
        return [replica for report, replica in self._found.values() if version in report.prepared]

    def _look(self) -> dict[str, tuple[Report, RemoteReplica]]:
        reports: Mapping[str, Report] = {key.rpartition(":")[2]: told for key, told in self._reports.live().items()}
        found: dict[str, tuple[Report, RemoteReplica]] = {}
        for name, report in reports.items():
            if name == self._own.unique_id:
                continue
            known = self._found.get(name)
            actor = None if known else ray_private.replica_actor(self._own, name)
            if known or actor:
                found[name] = report, known[1] if known else RemoteReplica(name, actor)
        return found


async def asked(actor: Any, method: str, argument: Any) -> Any:
    """What `method` of a replica gives for `argument`; cancelled there where the caller is.

    Raises:
        LostError: the replica has gone.
    """
    reference = ray_private.call_replica(actor, method, argument)
    try:
        return await reference
    except asyncio.CancelledError:
        ray.cancel(reference)
        raise
    except RayTaskError as error:
        raise error.cause from None  # what the replica raised, without the traceback that Ray writes into it
    except RayError as error:
        raise LostError(f"{type(error).__name__}") from error
