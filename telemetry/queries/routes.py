"""All that is asked about what was recorded, in one list."""

from collections.abc import Callable

from starlette.routing import Route

from telemetry.queries.engine import Engine
from telemetry.queries.exposition import Exposition
from telemetry.queries.found import Found
from telemetry.queries.prometheus import PrometheusApi
from telemetry.queries.recorded import RecordedSeries
from telemetry.storage.storage import Storage


def query_routes(storage: Storage, source: RecordedSeries, clock: Callable[[], float]) -> list[Route]:
    """Prometheus' API, `/metrics`, traces and logs, over one storage and its series by Prometheus' names."""
    return [
        *PrometheusApi(Engine(source), clock).routes(),
        Exposition(source, clock).route(),
        *Found(storage, clock).routes(),
    ]
