"""The collector and its page."""

import os
import time
from typing import Any

from ray.serve import Application

from deployments.access.guard import of_page
from deployments.applications.replica import ON_HEAD, application, checked, gate_of
from deployments.monitoring.alerts import Watched, firing
from deployments.ray_private import AsgiReplica
from deployments.settings import AccessSettings, parse, split_access
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.incidents import views
from telemetry.storage.data_folder import default_folder


class Telemetry(AsgiReplica):
    """The collector: OTLP in, series, detectors, alerts, and the page."""

    def __init__(self, config: CollectorConfig, access: AccessSettings) -> None:
        collector = Collector(config)
        self._watchers = collector.watchers
        self._app = checked(collector.asgi, gate_of(access, "telemetry"), of_page)

    async def watched(self, model: str) -> Watched:
        """What is known of a model, for the cluster's own applications."""
        told = views.incidents(self._watchers.incidents, time.time())
        known = self._watchers.drift.get(model)
        unusual = {number: version.unusual() for number, version in known.versions.items()} if known else {}
        return Watched(alerts=firing(told, model), unusual=unusual)


def telemetry(args: dict[str, Any]) -> Application:
    """The collector and its page; `args` are `CollectorConfig`, its host from `TRIMTAB_HOST` and its folder the user's
    where they name none, and `AccessSettings`."""
    access, rest = split_access(args)
    places = {"host": os.environ.get("TRIMTAB_HOST", "127.0.0.1"), "data_dir": default_folder()}
    config = parse(CollectorConfig, {**places, **rest}, "args")
    settings = parse(AccessSettings, access, "args")
    return application(Telemetry, config, settings, max_ongoing_requests=100, ray_actor_options=ON_HEAD)
