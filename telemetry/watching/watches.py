"""All that is watched of a service."""

from telemetry.watching.detection import DetectionConfig
from telemetry.watching.errors import ErrorWatch
from telemetry.watching.latency import LatencyWatch
from telemetry.watching.levels import LEVELS, LevelWatch
from telemetry.watching.stragglers import StragglerWatch
from telemetry.watching.watch import Watch


def watches(config: DetectionConfig) -> list[Watch]:
    """A watch for each thing that is watched.

    Server errors are unusual from the first request on; how many client errors are usual depends on the clients.
    """
    return [
        LatencyWatch(config),
        ErrorWatch("server_errors", "num_server_errors", "server errors in", config, warmup=0),
        ErrorWatch("client_errors", "num_client_errors", "client errors in", config, warmup=10),
        *map(LevelWatch, LEVELS),
        StragglerWatch(),
    ]
