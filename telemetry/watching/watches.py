"""All that is watched of a service."""

from telemetry.watching.detection import DetectionConfig
from telemetry.watching.errors import ErrorWatch
from telemetry.watching.latency import LatencyWatch
from telemetry.watching.levels import LEVELS, LevelWatch
from telemetry.watching.memory import MemoryWatch
from telemetry.watching.replicas import ReplicaWatch
from telemetry.watching.saturation import SaturationWatch
from telemetry.watching.stragglers import StragglerWatch
from telemetry.watching.throughput import ThroughputWatch
from telemetry.watching.watch import Watch


def watches(service: str, config: DetectionConfig) -> list[Watch]:
    """A watch for each thing that is watched in frames; who is missing `Watcher` asks at every tick.

    Server errors are unusual from the first request on; how many client errors are usual depends on the clients,
    and how much of a cascade goes to its teacher on what they ask.
    """
    limits = config.limits_of(service)
    return [
        LatencyWatch(config, limit_s=limits.latency_s),
        ErrorWatch(
            "server_errors", "num_server_errors", "server errors in", config, warmup=0, limit=limits.error_ratio
        ),
        ErrorWatch("client_errors", "num_client_errors", "client errors in", config, warmup=10),
        ErrorWatch("cascade", "num_sent", "the teacher is asked for", config, warmup=10, among="cascaded"),
        ErrorWatch("teacher", "num_unanswered", "the teacher does not answer", config, warmup=0, among="cascaded"),
        ThroughputWatch(config),
        *map(LevelWatch, LEVELS),
        MemoryWatch(),
        SaturationWatch(),
        ReplicaWatch("slow_replica", config),
        ReplicaWatch("failing_replica", config),
        StragglerWatch(),
    ]
