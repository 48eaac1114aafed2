"""Which models and tables a cluster serves, as Ray Serve tells it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ray import serve
from ray.serve.schema import ApplicationStatusOverview

from deployments import ray_private
from deployments.replicas.repository import DEPLOYMENT, EMBEDDINGS

LOOK_EVERY_S = 0.5
"""An answer holds so long: a stream of requests must not ask Ray's controller for each."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What an application is."""

    deployment: str
    """Name of the deployment that such an application has."""
    builders: tuple[str, ...]
    """What builds it, as "module:function"."""


MODELS = Kind(deployment=DEPLOYMENT, builders=("deployments.app:model", "deployments.app:pipeline"))
TABLES = Kind(deployment=EMBEDDINGS, builders=("deployments.app:embeddings",))


class Applications:
    """Those of one kind in this cluster, and whether each has all it needs to answer; asking may block for a moment."""

    def __init__(
        self,
        kind: Kind,
        statuses: Callable[[], Mapping[str, ApplicationStatusOverview]] = lambda: serve.status().applications,
        builders: Callable[[], Mapping[str, str]] = ray_private.builders,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._statuses = statuses
        self._builders = builders
        self._clock = clock
        self._found: Mapping[str, bool] = {}
        self._looked = float("-inf")

    def __call__(self) -> Mapping[str, bool]:
        """The name of each, and whether it runs."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY_S:
            self._found, self._looked = self._look(), now
        return self._found

    def _look(self) -> Mapping[str, bool]:
        statuses = self._statuses()
        unbuilt = any(not status.deployments for status in statuses.values())
        builders = self._builders() if unbuilt else {}  # an application is without deployments until it is built
        return {
            name: status.status == "RUNNING"
            for name, status in statuses.items()
            if self._kind.deployment in status.deployments or builders.get(name) in self._kind.builders
        }
