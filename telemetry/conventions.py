"""Names and units of everything that is reported, OpenTelemetry's own where they exist.

Semantic conventions 1.36: https://opentelemetry.io/docs/specs/semconv/
"""

from dataclasses import dataclass
from typing import Literal

# Resource attributes: who reports.
SERVICE_NAME = "service.name"
"""The model's name for a deployment, the recipe's name for a training."""
SERVICE_NAMESPACE = "service.namespace"
OWN_NAMESPACE = "trimtab"
"""The namespace of what Trimtab itself reports: its services are called by their names alone."""
SERVICE_VERSION = "service.version"
"""The artifact's version."""
SERVICE_INSTANCE_ID = "service.instance.id"
"""Unique for each process: a replica's id, a train worker's rank and run."""
HOST_ID = "host.id"
HOST_NAME = "host.name"
NODE_NAME = "k8s.node.name"
PROCESS_PID = "process.pid"
CONTAINER_ID = "container.id"
POD_UID = "k8s.pod.uid"
ROLE = "trimtab.role"
"""What the process does: "replica", "pipeline", "stage", "server", "train_worker", "collector"."""

# Data point attributes.
METHOD = "http.request.method"
SCHEME = "url.scheme"
ROUTE = "http.route"
STATUS_CODE = "http.response.status_code"
ERROR_TYPE = "error.type"
STEP = "trimtab.step"
"""Artifact measurements: "teacher", "control", "distill", ...; training: the step being trained."""
STATISTIC = "trimtab.statistic"
"""Of a quality: "value", or "low" and "high" of its 95 % confidence interval."""
QUALITY_METRIC = "trimtab.quality.metric"
BATCH_SIZE = "trimtab.batch.size"
CACHE_HIT = "trimtab.cache.hit"
PLACE = "trimtab.scatter.place"
"""Of a part of a large request: "here", in the replica that got the request, or "elsewhere"."""
STAGE = "trimtab.stage"
ANSWERED_BY = "trimtab.cascade.answered_by"
"""Of a row: "student", "teacher", or "unsure_student" where the teacher did not answer."""
RANK = "trimtab.train.rank"
TELEMETRY_SOURCE = "trimtab.telemetry.source"
"""What failed, of a process's own reporting."""


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One metric: its name, what kind of number it is, its unit (UCUM) and, for a histogram, its bucket bounds."""

    name: str
    kind: Literal["counter", "updowncounter", "gauge", "histogram"]
    unit: str
    description: str
    boundaries: tuple[float, ...] = ()


_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075,
    0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""The conventions' boundaries for request durations, carried on below 5 ms, where small models live."""

_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

REQUEST_DURATION = Instrument(
    name="http.server.request.duration",
    kind="histogram",
    unit="s",
    description="Duration of HTTP server requests.",
    boundaries=_SECONDS,
)
QUEUE_DURATION = Instrument(
    name="trimtab.queue.duration",
    kind="histogram",
    unit="s",
    description="Time a request waited for its batch.",
    boundaries=_SECONDS,
)
INFERENCE_DURATION = Instrument(
    name="trimtab.inference.duration",
    kind="histogram",
    unit="s",
    description="Time the session took for one batch.",
    boundaries=_SECONDS,
)
INFERENCE_BATCH_SIZE = Instrument(
    name="trimtab.inference.batch_size",
    kind="histogram",
    unit="{sample}",
    description="Samples in one batch.",
    boundaries=_SIZES,
)
INFERENCE_SAMPLES = Instrument(
    name="trimtab.inference.samples", kind="counter", unit="{sample}", description="Samples predicted."
)
CACHE_LOOKUPS = Instrument(
    name="trimtab.cache.lookups",
    kind="counter",
    unit="{request}",
    description="Requests looked up in the cache of answers; trimtab.cache.hit says whether it knew them.",
)
STAGE_DURATION = Instrument(
    name="trimtab.stage.duration",
    kind="histogram",
    unit="s",
    description="Duration of one stage of a pipeline's request, as who asks sees it: sending, waiting and computing; "
    "with error.type, of those that were not answered.",
    boundaries=_SECONDS,
)
SCATTER_PARTS = Instrument(
    name="trimtab.scatter.parts",
    kind="counter",
    unit="{part}",
    description="Parts of large requests, by where they were computed; with error.type, those that were not answered.",
)
CASCADE_ROWS = Instrument(
    name="trimtab.cascade.rows",
    kind="counter",
    unit="{row}",
    description="Rows that a cascade answered; trimtab.cascade.answered_by says by which of its models.",
)
CASCADE_EXPECTED = Instrument(
    name="trimtab.cascade.expected",
    kind="gauge",
    unit="1",
    description="Share of held-out examples that the teacher was asked for when the cascade was measured.",
)
VERSION_LOADS = Instrument(
    name="trimtab.version.loads",
    kind="counter",
    unit="{version}",
    description="Versions a replica has loaded; with error.type, those it could not.",
)
PROCESS_CPU_UTILIZATION = Instrument(
    name="process.cpu.utilization",
    kind="gauge",
    unit="1",
    description="CPU seconds the process used per second and available CPU.",
)
PROCESS_MEMORY_USAGE = Instrument(
    name="process.memory.usage", kind="updowncounter", unit="By", description="Resident memory of the process."
)
GPU_UTILIZATION = Instrument(
    name="hw.gpu.utilization", kind="gauge", unit="1", description="Fraction of time the GPU was busy."
)
GPU_MEMORY_USAGE = Instrument(
    name="hw.gpu.memory.usage", kind="updowncounter", unit="By", description="GPU memory in use."
)
PROCESS_ENDED = Instrument(
    name="trimtab.process.ended",
    kind="gauge",
    unit="1",
    description="1 in the last report of a process that ends in order: nobody need look for it.",
)
TRAIN_STEP_DURATION = Instrument(
    name="trimtab.train.step.duration",
    kind="histogram",
    unit="s",
    description="Duration of one optimizer step.",
    boundaries=_SECONDS,
)
TRAIN_WORK_DURATION = Instrument(
    name="trimtab.train.work.duration",
    kind="histogram",
    unit="s",
    description="Part of an optimizer step in which a worker waits for no other: fetching its examples, forward pass.",
    boundaries=_SECONDS,
)
TRAIN_SAMPLES = Instrument(
    name="trimtab.train.samples", kind="counter", unit="{sample}", description="Samples trained on."
)
TRAIN_LOSS = Instrument(name="trimtab.train.loss", kind="gauge", unit="1", description="Loss of the last step.")
ARTIFACT_QUALITY = Instrument(
    name="trimtab.artifact.quality", kind="gauge", unit="1", description="Quality measured when the artifact was made."
)
ARTIFACT_SIZE = Instrument(
    name="trimtab.artifact.size", kind="gauge", unit="By", description="Size of the ONNX file after each step."
)
ARTIFACT_LATENCY = Instrument(
    name="trimtab.artifact.latency",
    kind="gauge",
    unit="s",
    description="Latency measured when the artifact was made, by batch size.",
)
TELEMETRY_FAILURES = Instrument(
    name="trimtab.telemetry.failures",
    kind="counter",
    unit="{failure}",
    description="Observations and exports that raised an exception in the process that reports.",
)
