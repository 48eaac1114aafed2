"""What a service did in one interval."""

import math
from dataclasses import dataclass, field

from telemetry.series.distribution import Distribution
from telemetry.series.observation import Observation

MIN_INTERVAL_S = 1.0


@dataclass(kw_only=True, slots=True)
class InstanceFrame:
    """What one process did in one interval; NaN is a gauge that it does not report."""

    version: str = ""
    role: str = ""
    host: str = ""
    num_requests: int = 0
    num_server_errors: int = 0
    total_s: float = 0.0
    """Seconds that its requests took, all together."""
    memory: float = math.nan
    cpu: float = math.nan
    available: float = math.nan
    """Bytes of memory that are left to it."""


@dataclass(kw_only=True)
class Frame:
    """What a service did in one interval, all instances together."""

    time_s: float
    steady_s: float = 0.0
    """The same time by a clock that nobody sets; what is judged is judged by this one."""
    interval_s: float = MIN_INTERVAL_S
    num_instances: int = 1
    num_requests: int = 0
    num_server_errors: int = 0
    num_client_errors: int = 0
    num_cascaded: int = 0
    """Rows that cascades answered."""
    num_sent: int = 0
    """Of them, those that the student was not sure of."""
    num_unanswered: int = 0
    """Of these, those that the teacher did not answer."""
    durations: Distribution = field(default_factory=Distribution)
    observations: list[Observation] = field(default_factory=list)
    """Rows of the service's model that were counted."""
    signals: dict[str, float] = field(default_factory=dict)
    expected: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Between what values signals were expected; the watches write it."""
    step: str = ""
    """What is being trained."""
    work: dict[str, float] = field(default_factory=dict)
    """Mean seconds of a step that each train worker spent on its own, by rank."""
    instances: dict[str, InstanceFrame] = field(default_factory=dict)
    """Of the processes that are alive, by name."""
