"""Orders to the replicas of a cluster: which versions of a model to hold, and what each of them holds.

    order -> Ray's key-value store -> every replica, at once by broadcast, and whenever it looks at its source

The store outlives replicas, so one that starts later follows the same order, and the version that all have agreed on.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError

from deployments import ray_private
from deployments.errors import UnavailableError
from deployments.http.asgi import Answer, Call
from deployments.monitoring.feedback import Label
from deployments.oip.statistics import ModelStatistics, together
from deployments.replicas.agreement import Policy, Reports, order_key, ordered, reports_prefix
from deployments.replicas.status import VersionStatus, in_all
from deployments.rollout.deployed import Deployed
from deployments.rollout.shared import pin_key

LOAD_TIMEOUT_S = 120.0
INDEX_TIMEOUT_S = 5.0

DEPLOYMENT = "Model"
"""Name of the deployment in each model's application."""
EMBEDDINGS = "Embeddings"
"""Name of the deployment in each table's application."""


async def load(model: str, versions: Policy = None) -> list[VersionStatus]:
    """Hold `versions` of `model` in every replica, or what its settings say if not given, of a model whose versions are
    rolled out the last that was; returns once they answer.

    Raises:
        ArtifactError: a version cannot be served; the order before this one stays.
        UnavailableError: the replicas do not answer.
    """
    store, key = ray_private.KeyValueStore(), order_key(model)
    before = await asyncio.to_thread(ordered, store, key)
    if versions is None and (pinned := await asyncio.to_thread(store.get, pin_key(model))):
        versions = (pinned.decode(),)
    await asyncio.to_thread(store.put, key, json.dumps(versions).encode())
    try:
        await _ask(model, "reload_versions", LOAD_TIMEOUT_S)
    except BaseException:
        await asyncio.to_thread(store.put, key, json.dumps(before).encode())
        raise
    return in_all(await _ask(model, "reload_versions", LOAD_TIMEOUT_S))  # now that all have it, all answer by it


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
    return in_all(await _ask(model, "versions", INDEX_TIMEOUT_S))


class Watch:
    """Looks whether the replicas of models answer by one version; reads what they report, asks none of them."""

    def __init__(self) -> None:
        self._reports: dict[str, Reports] = {}

    def behind(self, model: str) -> str | None:
        """Why a replica of `model` cannot answer by the version that the others do, if so; may block for a moment."""
        reports = self._reports.setdefault(model, Reports(ray_private.KeyValueStore(), reports_prefix(model)))
        return next((report.behind for report in reports.live().values() if report.behind), None)


async def statistics(model: str) -> list[ModelStatistics]:
    """What `model` has answered, by version, in all its replicas.

    Raises:
        UnavailableError: the replicas do not answer.
    """
    told: list[list[ModelStatistics]] = await _ask(model, "statistics", INDEX_TIMEOUT_S)
    return together(told)


async def join(model: str, labels: Sequence[Label]) -> set[tuple[str, int]]:
    """Bring labels to the replicas of `model`, each of which knows the requests that it answered; which were known.

    Raises:
        UnavailableError: the replicas do not answer.
    """
    told: list[set[tuple[str, int]]] = await _ask(model, "join_labels", INDEX_TIMEOUT_S, list(labels))
    return set().union(*told)


async def ask(model: str, request: Call) -> Answer:
    """What one of the replicas of `model` answers.

    Raises:
        UnavailableError: there is none that answers.
    """
    try:
        answer: Answer = await ray_private.handle_for_large(DEPLOYMENT, model).ask.remote(request)
    except (DeploymentUnavailableError, RayActorError) as error:
        raise UnavailableError(f"model {model!r} has no replica that answers: try again") from error
    return answer


async def deployed(model: str) -> Deployed:
    """What one of the replicas of `model` is made of.

    Raises:
        UnavailableError: there is none that answers.
    """
    try:
        found: Deployed = await serve.get_deployment_handle(DEPLOYMENT, model).deployed.remote()
    except (DeploymentUnavailableError, RayActorError) as error:
        raise UnavailableError(f"model {model!r} has no replica that answers: try again") from error
    return found


async def is_whole(table: str) -> bool:
    """Whether each row of a table of embeddings has all its copies, as far as a replica can tell."""
    handle = serve.get_deployment_handle(EMBEDDINGS, table)
    try:
        return bool(await asyncio.wait_for(handle.is_whole.remote(), INDEX_TIMEOUT_S))
    except (DeploymentUnavailableError, RayActorError, TimeoutError):
        return False


async def _ask(model: str, method: str, timeout_s: float, *arguments: Any) -> list[Any]:
    handle = serve.get_deployment_handle(DEPLOYMENT, model)
    try:
        answers: list[Any] = await handle.broadcast(method, *arguments).results_async(timeout_s=timeout_s)
    except RayTaskError as error:
        raise error.cause from None  # what the replica raised, without the traceback that Ray writes into its message
    except (DeploymentUnavailableError, RayActorError) as error:
        raise UnavailableError(f"model {model!r} has no replica that answers: try again") from error
    except TimeoutError as error:
        raise UnavailableError(
            f"the replicas of model {model!r} must answer within {timeout_s:.0f} s: try again"
        ) from error
    return answers
