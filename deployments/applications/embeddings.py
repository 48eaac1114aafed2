"""A table of embeddings, called by HTTP."""

from typing import Any

from ray.serve import Application

from deployments.access.guard import of_model
from deployments.applications.replica import application, checked, emitter_of, gate_of
from deployments.embeddings.calls import RayShards
from deployments.embeddings.http import EmbeddingApp
from deployments.embeddings.http import Limits as EmbeddingLimits
from deployments.embeddings.keeper_actor import RayKeeper
from deployments.embeddings.mapped import MappedTable
from deployments.embeddings.meters import ReaderMeter
from deployments.embeddings.reader import Reader
from deployments.embeddings.settings import EmbeddingSettings
from deployments.ray_private import AsgiReplica
from deployments.settings import parse


class Embeddings(AsgiReplica):
    """A reader of a table, called by HTTP; the rows lie in actors that outlive it."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        keeper = RayKeeper(settings)
        table = settings.shape()
        self._health = keeper.health
        emitter = emitter_of(settings, settings.table, "", "embeddings")
        meter = ReaderMeter(settings.table, emitter)
        near = MappedTable(table)
        reader = Reader(table, RayShards(table), keeper.view, settings.reading(), near=near, meter=meter)
        app = EmbeddingApp(
            reader,
            keeper.health,
            limits=EmbeddingLimits(max_request_ids=settings.max_request_ids, max_body_bytes=settings.max_body_bytes),
            tasks=lambda: [keeper.renew(), reader.follow()],
            emitter=emitter,
        )
        gate = gate_of(settings, settings.table)
        self._app = checked(app, gate, of_model(settings.table))

    async def is_whole(self) -> bool:
        """Whether each row has all its copies; `deployments.replicas.repository` calls this."""
        return bool((await self._health()).get("whole"))


def embeddings(args: dict[str, Any]) -> Application:
    """A table of embeddings at its route; `args` are `EmbeddingSettings`."""
    settings = parse(EmbeddingSettings, args, "args")
    return application(Embeddings, settings, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
