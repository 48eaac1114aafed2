"""Orders to the replicas of a cluster: which versions of a model to hold, and what each of them holds.

    order -> Ray's key-value store -> every replica, at once by broadcast, and whenever it looks at its directory

The store outlives replicas, so one that starts later follows the same order.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.experimental import internal_kv
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.errors import UnavailableError
from deployments.http.asgi import Answer, Call
from deployments.oip.statistics import ModelStatistics, together
from deployments.replicas.versions import Policy, VersionStatus

LOAD_TIMEOUT_S = 120.0
INDEX_TIMEOUT_S = 5.0

DEPLOYMENT = "Model"
"""Name of the deployment in each model's application."""


async def load(model: str, versions: Policy = None) -> list[VersionStatus]:
    """Hold `versions` of `model` in every replica, or what its settings say if not given; returns once they answer.

    Raises:
        ArtifactError: a version cannot be served; the order before this one stays.
        UnavailableError: the replicas do not answer.
    """
    before = await asyncio.to_thread(ordered, model)
    await asyncio.to_thread(_put, model, versions)
    try:
        return _together(await _ask(model, "reload_versions", LOAD_TIMEOUT_S))
    except BaseException:
        await asyncio.to_thread(_put, model, before)
        raise


async def unload(model: str) -> list[VersionStatus]:
    """Let every replica go of all versions of `model`, until one is loaded again.

    Raises:
        UnavailableError: the replicas do not answer.
    """
    return await load(model, ())


async def index(model: str) -> list[VersionStatus]:
    """Every version of `model` that is published or wanted; ready is what all replicas hold.

    Raises:
        UnavailableError: the replicas do not answer.
    """
    return _together(await _ask(model, "versions", INDEX_TIMEOUT_S))


async def statistics(model: str) -> list[ModelStatistics]:
    """What `model` has answered, by version, in all its replicas.

    Raises:
        UnavailableError: the replicas do not answer.
    """
    told: list[list[ModelStatistics]] = await _ask(model, "statistics", INDEX_TIMEOUT_S)
    return together(told)


async def ask(model: str, request: Call) -> Answer:
    """What one of the replicas of `model` answers.

    Raises:
        UnavailableError: there is none that answers.
    """
    try:
        answer: Answer = await serve.get_deployment_handle(DEPLOYMENT, model).ask.remote(request)
    except (DeploymentUnavailableError, RayActorError) as error:
        raise UnavailableError(f"model {model!r} has no replica that answers: try again") from error
    return answer


def ordered(model: str) -> Policy:
    """The last order for `model`; none where its settings hold."""
    kept = internal_kv._internal_kv_get(_key(model))
    found = json.loads(kept) if kept else None
    return None if found is None else tuple(found)


def _put(model: str, versions: Policy) -> None:
    internal_kv._internal_kv_put(_key(model), json.dumps(versions).encode(), overwrite=True)


def _key(model: str) -> bytes:
    return f"trimtab:versions:{model}".encode()


async def _ask(model: str, method: str, timeout_s: float) -> list[Any]:
    handle = serve.get_deployment_handle(DEPLOYMENT, model)
    try:
        answers: list[Any] = await handle.broadcast(method).results_async(timeout_s=timeout_s)
    except RayTaskError as error:
        raise error.cause from None  # what the replica raised, without the traceback that Ray writes into its message
    except (DeploymentUnavailableError, RayActorError) as error:
        raise UnavailableError(f"model {model!r} has no replica that answers: try again") from error
    except TimeoutError as error:
        raise UnavailableError(
            f"the replicas of model {model!r} must answer within {timeout_s:.0f} s: try again"
        ) from error
    return answers


def _together(replicas: Iterable[list[VersionStatus]]) -> list[VersionStatus]:
    """One status for each version: the first replica's that is not ready, else ready."""
    found: dict[str, VersionStatus] = {}
    for status in (status for replica in replicas for status in replica):
        if status.version not in found or found[status.version].state == "READY":
            found[status.version] = status
    return sorted(found.values(), key=lambda status: int(status.version))
