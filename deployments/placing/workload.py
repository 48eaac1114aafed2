"""A model as the simulation knows it: how long its calls take, what it weighs, what it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployments.batching.admission import Limits
from deployments.batching.pace import Pace
from deployments.errors import SettingsError
from deployments.execution.session import GAIN, QUICK_S
from deployments.placing.traffic import ExpectedModel, Node, Traffic
from deployments.replicas.source import published
from deployments.settings import ModelSettings
from optimization.artifact.manifest import Manifest
from optimization.artifact.store import load

Spread = tuple[tuple[int, tuple[float, ...]], ...]
"""By rising number of samples, how long calls took that were measured, over what they were expected to take."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One model and its traffic. A call of `n` samples takes `sample_s · n + call_s` on CPUs of its own, times a number
    of `spread` where there is one."""

    name: str
    sample_s: float
    call_s: float
    requests_per_s: float
    burstiness: float = 1.0
    samples: int = 1
    """Samples of one request."""
    latency_target_s: float | None = None
    """Within this much a request shall be answered; one that could not be is refused. Without it, all wait."""
    max_batch_size: int = 64
    max_queue_size: int = ModelSettings.model_fields["max_queue_size"].default
    num_threads: int = 1
    spread: Spread = ()
    overhead_s: tuple[float, ...] = ()
    """Seconds that requests were measured to take outside of the replica, client and ingress included."""
    weights_bytes: int = 0
    """Memory that the first replica of a node takes and the others share."""
    replica_bytes: int = 0
    """Memory that each replica takes."""

    @property
    def limits(self) -> Limits:
        """What the batcher of a replica may do."""
        return Limits(
            max_batch_size=self.max_batch_size,
            max_queue_size=self.max_queue_size,
            latency_target_s=self.latency_target_s,
        )

    @property
    def cpu_load(self) -> float:
        """CPUs that it keeps busy where requests come one by one; batches make it less."""
        return self.requests_per_s * self.duration_s(self.samples) * self.num_threads

    def duration_s(self, samples: int) -> float:
        """Seconds of a call that has its CPUs to itself."""
        return self.sample_s * samples + self.call_s

    def memory_bytes(self, replicas: int) -> int:
        """Memory of so many replicas on one node."""
        return self.weights_bytes + replicas * self.replica_bytes if replicas else 0


def workloads(traffic: Traffic, nodes: Sequence[Node]) -> list[Workload]:
    """The models of `traffic`, with what their manifests say of them where it says nothing itself.

    Raises:
        ArtifactError: an artifact whose manifest is needed is missing or damaged.
        SettingsError: latency or target of a model lack, or cannot be met; or it fits none of `nodes`.
    """
    found = [_workload(model, traffic) for model in traffic.models]
    for workload in found:
        _check(workload, nodes)
    return found


def _workload(model: ExpectedModel, traffic: Traffic) -> Workload:
    where = f"model {model.artifact!r}"
    target_s = model.latency_target_s or traffic.latency_target_s
    if target_s is None:
        raise SettingsError(f"{where}: latency_target_s must be given, for it or for all models")
    if model.samples > model.max_batch_size:
        raise SettingsError(
            f"{where}: samples must be at most max_batch_size, {model.max_batch_size}, got {model.samples}"
        )
    latency_s: Mapping[int, float] | None = model.latency_s
    weights: int | None = model.weights
    if latency_s is None or weights is None:
        manifest = _manifest(model.artifact, traffic.artifacts)
        latency_s = latency_s or _measured(manifest, model)
        weights = sum(file.size_bytes for file in manifest.files.values()) if weights is None else weights
    pace = Pace()
    for size, seconds in sorted(latency_s.items()):
        pace.learn(size, seconds)
    slope, start = pace.line()
    return Workload(
        name=model.artifact,
        sample_s=slope + model.request_s / model.samples,
        call_s=start,
        requests_per_s=model.requests_per_s,
        burstiness=model.burstiness,
        samples=model.samples,
        latency_target_s=target_s,
        max_batch_size=max(model.samples, _largest_that_pays(pace, model.max_batch_size)),
        num_threads=model.num_threads,
        weights_bytes=weights,
        replica_bytes=model.replica_memory,
    )


def _manifest(name: str, artifacts: str) -> Manifest:
    settings = ModelSettings(artifact=name, artifacts=artifacts)
    with published(settings.source(), None) as copy:
        return load(copy.path).manifest


def _measured(manifest: Manifest, model: ExpectedModel) -> Mapping[int, float]:
    where = f"model {model.artifact!r}: latency_s must be given"
    if not manifest.measurements or not manifest.measurements[-1].latency_s:
        raise SettingsError(f"{where}, seconds by batch size: no recipe measured version {manifest.version}")
    if model.num_threads != 1:
        raise SettingsError(f"{where} for num_threads {model.num_threads}: the manifest's was measured with one thread")
    return manifest.measurements[-1].latency_s


def _largest_that_pays(pace: Pace, limit: int) -> int:
    """The batch size at which a session stops trying larger ones when it warms up, and that it then keeps to."""
    best, rate, size = 1, 0.0, 1
    while True:
        duration_s = pace.duration_s(size)
        if duration_s < QUICK_S or size / duration_s > GAIN * rate:
            best, rate = size, max(rate, size / duration_s)
        if size == limit or size == 4 * best:
            return best
        size = min(2 * size, limit)


def _check(workload: Workload, nodes: Sequence[Node]) -> None:
    where = f"model {workload.name!r}"
    alone_s = workload.duration_s(workload.samples)
    assert workload.latency_target_s is not None
    if workload.latency_target_s < alone_s:
        raise SettingsError(
            f"{where}: latency_target_s must be at least {alone_s:.4g}, what a request takes that waits for nothing, "
            f"got {workload.latency_target_s:g}"
        )
    if workload.num_threads > max(node.cpus for node in nodes):
        most = max(node.cpus for node in nodes)
        raise SettingsError(f"{where}: num_threads must be at most {most}, a node's CPUs, got {workload.num_threads}")
    needs, largest = workload.memory_bytes(1), max(nodes, key=lambda node: node.memory)
    if needs > largest.memory:
        raise SettingsError(
            f"{where} must fit a node: it needs {needs / 2**20:.0f} MiB, the largest node, {largest.name!r}, has "
            f"{largest.memory / 2**20:.0f} MiB"
        )
