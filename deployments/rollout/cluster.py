"""What a rollout asks of the cluster that it happens in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from deployments.monitoring.alerts import Watched
from deployments.replicas.agreement import Policy
from deployments.rollout.deployed import Deployed
from deployments.rollout.state import Rollout
from telemetry.slo.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What has become of a candidate's application."""

    state: Literal["missing", "starting", "runs", "failed"]
    message: str = ""


class Cluster(Protocol):
    """What a rollout does to a cluster. All of it may be done again; each may raise `UnavailableError`."""

    async def published(self, model: str) -> Sequence[str]:
        """The versions of a model, oldest first; raises `NotFoundError` where there is no such model."""

    async def deployed(self, model: str) -> Deployed:
        """What the model is made of; raises `RequestError` where it is none that can be rolled out."""

    async def objectives(self, model: str) -> Sequence[Objective]:
        """What the cluster's own collector is told to promise of the model; none where there is none."""

    async def watched(self, model: str) -> Watched:
        """What the cluster's own collector knows of the model; nothing where there is none. Raises `UnavailableError`
        where it does not answer.
        """

    async def deploy(self, rollout: Rollout) -> None:
        """Start the candidate's replicas; raises `SettingsError` where they cannot be."""

    async def standing(self, model: str) -> Standing:
        """What the model's candidate does."""

    async def remove(self, model: str) -> bool:
        """End the candidate's replicas once they have answered what they have begun; whether they have gone."""

    async def load(self, model: str, versions: Policy) -> None:
        """Let the model answer by `versions`; raises `ArtifactError` where one cannot be served."""

    async def ordered(self, model: str) -> Policy:
        """The versions that were ordered last."""

    async def order(self, model: str, versions: Policy) -> None:
        """Order `versions`, and wait for nobody."""
