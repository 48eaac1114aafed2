"""What rollouts do to the cluster: a candidate's replicas are an application of their own, like the model's."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.api import RunTarget
from ray.serve.exceptions import DeploymentUnavailableError

from deployments import ray_private
from deployments.applications.model import Model
from deployments.applications.replica import application
from deployments.errors import NotFoundError, RequestError, UnavailableError
from deployments.monitoring.alerts import Watched
from deployments.replicas import repository, source
from deployments.replicas.agreement import Policy, order_key, ordered
from deployments.replicas.applications import MODELS, Applications
from deployments.replicas.scaling import replicas
from deployments.replicas.source import SourceError
from deployments.rollout.candidate import DEPLOYMENT, Candidacy, application_of
from deployments.rollout.cluster import Standing
from deployments.rollout.deployed import Deployed
from deployments.rollout.state import Rollout
from deployments.settings import ModelSettings
from telemetry.slo.objective import Objective

COLLECTOR = "deployments.app:telemetry"
"""What builds the application whose args are a collector's settings."""
COLLECTING = "Telemetry"
"""Name of its deployment."""
COLLECTOR_S = 5.0
"""So long it is waited for."""
MOST_TOLD = 500
"""Characters of Serve's own words that are passed on."""


class RayCluster:
    """As `deployments.rollout.controller.Cluster`."""

    def __init__(self) -> None:
        self._models = Applications(MODELS)

    async def published(self, model: str) -> Sequence[str]:
        """The versions of a model: what its replicas know, and what has just come to be seen from here."""
        known = await asyncio.to_thread(self._models)
        if model not in known:
            served = ", ".join(sorted(known)) or "none yet"
            raise NotFoundError(f"model {model!r} is not served, only {served}")
        seen = {each.version for each in await repository.index(model)}
        settings = (await self.deployed(model)).settings
        with suppress(SourceError):  # the replicas' word stands
            seen.update(await asyncio.to_thread(settings.source().versions))
        return sorted(seen, key=int)

    async def deployed(self, model: str) -> Deployed:
        """What the model is made of."""
        status = await asyncio.to_thread(serve.status)
        if len(status.applications[model].deployments) > 1:
            raise RequestError(f"a pipeline is not rolled out as one, got {model!r}: roll out the models of its stages")
        return await repository.deployed(model)

    async def objectives(self, model: str) -> Sequence[Objective]:
        """What the cluster's own collector is told to promise of the model; none where there is none."""
        told = [(config.get("args") or {}).get("slos") or () for config in (await _collectors()).values()]
        promised = [Objective.model_validate(each) for slos in told for each in slos]
        return [each for each in promised if each.holds_for(model)]

    async def watched(self, model: str) -> Watched:
        """What the cluster's own collector knows of the model; nothing where there is none.

        Raises:
            UnavailableError: it does not answer.
        """
        for name in await _collectors():
            handle = serve.get_deployment_handle(COLLECTING, name)
            try:
                found: Watched = await asyncio.wait_for(handle.watched.remote(model), COLLECTOR_S)
            except (DeploymentUnavailableError, RayActorError, TimeoutError) as error:
                raise UnavailableError(f"the collector {name!r} does not say what it knows of {model!r}") from error
            return found
        return Watched()

    async def deploy(self, rollout: Rollout) -> None:
        """Start the candidate's replicas."""
        like = await repository.deployed(rollout.model)
        settings = _settings(like.settings, rollout)
        await asyncio.to_thread(source.find, settings.source(), rollout.candidate)
        candidacy = Candidacy(rollout=rollout.id, window_s=rollout.settings.window_s)
        await asyncio.to_thread(_run, settings, candidacy, like.resources)

    async def standing(self, model: str) -> Standing:
        """What the model's candidate does."""
        status = await asyncio.to_thread(serve.status)
        found = status.applications.get(application_of(model))
        if found is None:
            return Standing(state="missing")
        told = "; ".join([found.message, *(each.message for each in found.deployments.values())]).strip("; ")
        match found.status:
            case "RUNNING":
                return Standing(state="runs")
            case "DEPLOY_FAILED" | "UNHEALTHY":
                return Standing(state="failed", message=told[-MOST_TOLD:])
            case _:
                return Standing(state="starting", message=told[-MOST_TOLD:])

    async def remove(self, model: str) -> bool:
        """End the candidate's replicas."""
        name = application_of(model)
        status = await asyncio.to_thread(serve.status)
        if name not in status.applications:
            return True
        if status.applications[name].status != "DELETING":
            await asyncio.to_thread(serve.delete, name, _blocking=False)
        return False

    async def load(self, model: str, versions: Policy) -> None:
        """Let the model answer by `versions`."""
        await repository.load(model, versions)

    async def ordered(self, model: str) -> Policy:
        """The versions that were ordered last."""
        return await asyncio.to_thread(ordered, ray_private.KeyValueStore(), order_key(model))

    async def order(self, model: str, versions: Policy) -> None:
        """Order `versions`."""
        text = json.dumps(versions).encode()
        await asyncio.to_thread(ray_private.KeyValueStore().put, order_key(model), text)


def _settings(model: ModelSettings, rollout: Rollout) -> ModelSettings:
    """The model's own, with as many replicas as the largest share of the requests takes."""
    share, scaling = max(rollout.settings.steps), model.scaling
    fewest, most = (max(1, math.ceil(share * number)) for number in (scaling.min_replicas, scaling.max_replicas))
    return model.model_copy(
        update={
            "version": (rollout.candidate,),
            "keep_versions": 1,
            "rollout": None,
            "scaling": scaling.model_copy(update={"min_replicas": fewest, "max_replicas": most}),
        }
    )


def _run(settings: ModelSettings, candidacy: Candidacy, resources: Any) -> None:
    """Deploy it, without a route: only the model's replicas ask it."""
    name = application_of(settings.artifact)
    candidate = application(
        Model,
        settings,
        candidacy,
        name=DEPLOYMENT,
        max_ongoing_requests=settings.max_batch_size + settings.max_queue_size,
        ray_actor_options={"num_cpus": resources.get("CPU", 0), "num_gpus": resources.get("GPU", 0)},
        **replicas(settings),
    )
    serve.run_many(
        [RunTarget(target=candidate, name=name, route_prefix=None)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


async def _collectors() -> Mapping[str, Mapping[str, Any]]:
    """What `serve_config.yaml` says of the cluster's collectors, by name."""
    configs = await asyncio.to_thread(ray_private.app_configs)
    return {name: config for name, config in configs.items() if config.get("import_path") == COLLECTOR}
