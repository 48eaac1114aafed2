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
"""What the process does: "replica", "pipeline", "stage", "teacher", "server", "ingress", "embeddings", "shard",
"store", "score", "train_worker", "collector"."""

# Data point attributes.
MODEL_VERSION = "trimtab.model.version"
"""Of all that is counted of a model: a process may hold several versions, of which `service.version` is the one that
answers where a request names none."""
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
OUTCOME = "trimtab.outcome"
"""Of a row: "good" or "bad"; of rows looked up: "near", read from a shard's memory, "kept" here, or "fetched"."""
RESOURCE = "trimtab.resource"
"""What a saturation is of: "session", "queue" or "bytes"."""
TABLE = "trimtab.embeddings.table"
BATCH_REQUESTS = "trimtab.batch.requests"
ANSWERED_BY = "trimtab.cascade.answered_by"
"""Of a row: "student", "teacher", or "unsure_student" where the teacher did not answer."""
RANK = "trimtab.train.rank"
WATCHED = "trimtab.drift.watched"
"""What a distribution is of: a column, a statistic of texts or pictures, the class, a projection, a kind of problem."""
WATCHED_KIND = "trimtab.drift.kind"
"""Of a distribution: "levels", "categories" or "losses"; the bins of the last two are 0, 1, ..."""
REFERENCE_COUNTS = "trimtab.reference.counts"
"""Rows in each bin when the artifact was made, separated by commas."""
DATA_PROBLEM = "trimtab.data.problem"
"""What is wrong with a value: "missing", "out_of_range", "new_category" or "wrong_length"."""
SEGMENT = "trimtab.segment.name"
"""What rows are told apart by: "class", "bytes", or an attribute that came with labels."""
SEGMENT_VALUE = "trimtab.segment.value"
OVERFLOW = "otel.metric.overflow"
"""True on the series that stands for all those beyond a limit of cardinality."""
TELEMETRY_SOURCE = "trimtab.telemetry.source"
"""What failed, of a process's own reporting."""
CHANGED_SERVICE = "trimtab.change.service"
"""Of a log record that tells of a change: the service that became different, which need not be the one that tells."""
ROLLOUT_PHASE = "trimtab.rollout.phase"
ROLLOUT_DECISION = "trimtab.rollout.decision"
"""Name of the event that is such a record, of a version that is rolled out."""
SERVER_ADDRESS = "server.address"
"""Host and port of a collector, of what became of what it was sent."""


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
PREPROCESS_DURATION = Instrument(
    name="trimtab.preprocess.duration",
    kind="histogram",
    unit="s",
    description="Time from a request's head to its tensors: its body read, unpacked and decoded.",
    boundaries=_SECONDS,
)
RAW_DURATION = Instrument(
    name="trimtab.raw.duration",
    kind="histogram",
    unit="s",
    description="Time to make tensors of the raw input of one batch: texts cut into tokens, pictures decoded.",
    boundaries=_SECONDS,
)
BATCH_DURATION = Instrument(
    name="trimtab.batch.duration",
    kind="histogram",
    unit="s",
    description="Time to make one batch of the requests' tensors, and to give each its own outputs.",
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
REQUEST_ERRORS = Instrument(
    name="trimtab.request.errors",
    kind="counter",
    unit="{request}",
    description="Requests that were refused or failed; error.type says why.",
)
SATURATION = Instrument(
    name="trimtab.saturation",
    kind="gauge",
    unit="1",
    description="How much of what a replica has is taken: of the session's time since the last export, of the places "
    "in the queue, of the bytes that bodies may have.",
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
DRIFT_ROWS = Instrument(
    name="trimtab.drift.rows",
    kind="histogram",
    unit="{row}",
    description="Sampled rows by bin of the manifest's reference, which trimtab.reference.counts tells.",
)
DATA_PROBLEMS = Instrument(
    name="trimtab.data.problems",
    kind="counter",
    unit="{row}",
    description="Sampled rows with a problem, by column; trimtab.data.problem says which.",
)
FIDELITY_ROWS = Instrument(
    name="trimtab.fidelity.rows",
    kind="histogram",
    unit="{row}",
    description="Shadowed rows whose class is the teacher's (bin 0) or another (bin 1).",
)
SHADOW_ROWS = Instrument(
    name="trimtab.shadow.rows",
    kind="counter",
    unit="{row}",
    description="Rows that the teacher was asked for beside the requests; with error.type, those it did not answer.",
)
ACCURACY_ROWS = Instrument(
    name="trimtab.accuracy.rows",
    kind="histogram",
    unit="{row}",
    description="Answered rows whose label came later, right (bin 0) or wrong (bin 1); also by segment.",
)
FEEDBACK_LABELS = Instrument(
    name="trimtab.feedback.labels",
    kind="counter",
    unit="{label}",
    description="Labels that came later; with error.type, those whose request is not known, or no longer.",
)
VERSION_LOADS = Instrument(
    name="trimtab.version.loads",
    kind="counter",
    unit="{version}",
    description="Versions a replica has loaded; with error.type, those it could not.",
)
TEACHER_DURATION = Instrument(
    name="trimtab.cascade.teacher.duration",
    kind="histogram",
    unit="s",
    description="Time that a cascade's teacher took for some rows; with error.type, of those it did not answer.",
    boundaries=_SECONDS,
)
LOOKUP_DURATION = Instrument(
    name="trimtab.embeddings.lookup.duration",
    kind="histogram",
    unit="s",
    description="Time to look up the rows of one request, or in a shard those it was asked for at once.",
    boundaries=_SECONDS,
)
LOOKUP_ROWS = Instrument(
    name="trimtab.embeddings.rows",
    kind="counter",
    unit="{row}",
    description="Rows of a table that were looked up; trimtab.outcome says where they were found.",
)
SHARD_ROWS = Instrument(
    name="trimtab.embeddings.shard.rows",
    kind="counter",
    unit="{row}",
    description="Rows that a shard was asked for.",
)
CHANGE_DURATION = Instrument(
    name="trimtab.embeddings.change.duration",
    kind="histogram",
    unit="s",
    description="Time until a change of rows was in every copy; with error.type, of those that were not.",
    boundaries=_SECONDS,
)
SCORED_ROWS = Instrument(
    name="trimtab.score.rows",
    kind="counter",
    unit="{row}",
    description="Rows that an offline job has scored; trimtab.outcome says whether they were good.",
)
CHUNK_DURATION = Instrument(
    name="trimtab.score.chunk.duration",
    kind="histogram",
    unit="s",
    description="Time to read, score and write one chunk of an offline job; with error.type, of those that failed.",
    boundaries=(*_SECONDS, 30.0, 60.0, 120.0, 300.0),
)
PUSHED_BYTES = Instrument(
    name="trimtab.pushed.received",
    kind="counter",
    unit="By",
    description="Bytes of pushed versions that a node has got from other nodes.",
)
PUSHED_DURATION = Instrument(
    name="trimtab.pushed.fetch.duration",
    kind="histogram",
    unit="s",
    description="Time until a pushed version was whole on a node; with error.type, of those that did not become so.",
    boundaries=(0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
PROCESS_CPU_UTILIZATION = Instrument(
    name="process.cpu.utilization",
    kind="gauge",
    unit="1",
    description="CPU seconds the process used per second and available CPU.",
)
PROCESS_CPUS = Instrument(
    name="trimtab.process.cpus", kind="gauge", unit="{cpu}", description="CPUs that the process may use."
)
CPU_THROTTLED_PERIODS = Instrument(
    name="trimtab.cpu.throttled.periods",
    kind="counter",
    unit="{period}",
    description="Periods in which the process's control group was out of CPU time and had to wait for the next.",
)
CPU_THROTTLED_TIME = Instrument(
    name="trimtab.cpu.throttled.time", kind="counter", unit="s", description="Time that was waited so."
)
PROCESS_MEMORY_USAGE = Instrument(
    name="process.memory.usage",
    kind="updowncounter",
    unit="By",
    description="Physical memory of the process; of what several processes map, such as weights, its share.",
)
MEMORY_AVAILABLE = Instrument(
    name="system.linux.memory.available",
    kind="updowncounter",
    unit="By",
    description="Memory that is left to the process: of its node, or of its control group where that leaves less.",
)
PROCESS_FILE_DESCRIPTORS = Instrument(
    name="process.unix.file_descriptor.count",
    kind="updowncounter",
    unit="{file_descriptor}",
    description="File descriptors that the process has open.",
)
PROCESS_FILE_DESCRIPTORS_LIMIT = Instrument(
    name="trimtab.process.file_descriptor.limit",
    kind="gauge",
    unit="{file_descriptor}",
    description="File descriptors that the process may have open.",
)
EVENT_LOOP_LAG = Instrument(
    name="trimtab.event_loop.lag",
    kind="histogram",
    unit="s",
    description="How much later than asked for the event loop came to a timer.",
    boundaries=_SECONDS,
)
OBJECT_STORE_USAGE = Instrument(
    name="trimtab.object_store.usage",
    kind="gauge",
    unit="By",
    description="Memory that Ray's object store on this node has touched.",
)
OBJECT_STORE_LIMIT = Instrument(
    name="trimtab.object_store.limit", kind="gauge", unit="By", description="Memory that it may have."
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
GPU_MEMORY_LIMIT = Instrument(
    name="hw.gpu.memory.limit", kind="updowncounter", unit="By", description="Memory of the GPU."
)
GPU_POWER = Instrument(name="hw.power", kind="gauge", unit="W", description="Power that the GPU draws.")
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
PROCESSED_SPANS = Instrument(
    name="otel.sdk.processor.span.processed",
    kind="counter",
    unit="{span}",
    description="Spans that were to be reported; with error.type, those dropped before any collector had them.",
)
EXPORTED_SPANS = Instrument(
    name="otel.sdk.exporter.span.exported",
    kind="counter",
    unit="{span}",
    description="Spans that a collector took; with error.type, those it did not.",
)
EXPORTED_POINTS = Instrument(
    name="otel.sdk.exporter.metric_data_point.exported",
    kind="counter",
    unit="{data_point}",
    description="Data points that a collector took; with error.type, those it did not: the next export has the totals.",
)
EXPORTED_LOGS = Instrument(
    name="otel.sdk.exporter.log.exported",
    kind="counter",
    unit="{log_record}",
    description="Log records that a collector took; with error.type, those it did not.",
)
BACKEND = "trimtab.forwarding.backend"
"""The name of a back-end that the collector forwards or writes to."""
SIGNAL = "trimtab.signal"
"""Of a request that the collector received: "metrics", "traces" or "logs"."""
PROTOCOL = "network.protocol.name"
OUTCOME = "trimtab.outcome"
"""What became of a request: "taken", or why it was not."""
RECEIVED_REQUESTS = Instrument(
    name="trimtab.received.requests",
    kind="counter",
    unit="{request}",
    description="OTLP requests that the collector answered, by signal, protocol and what became of them.",
)
RECEIVED_SIZE = Instrument(
    name="trimtab.received.size", kind="counter", unit="By", description="Size of those requests as they came."
)
RECEIVED_POINTS = Instrument(
    name="trimtab.received.points", kind="counter", unit="{point}", description="Metric points that came."
)
REFUSED_POINTS = Instrument(
    name="trimtab.refused.points", kind="counter", unit="{point}", description="Metric points that were refused."
)
SERIES_COUNT = Instrument(
    name="trimtab.series.count", kind="gauge", unit="{series}", description="Series that are reported at a time."
)
SERIES_OVERFLOWN = Instrument(
    name="trimtab.series.overflown",
    kind="counter",
    unit="{series}",
    description="Series that a sender had too many of, which are counted in its overflow series.",
)
SERIES_PENDING = Instrument(
    name="trimtab.series.pending", kind="gauge", unit="{point}", description="Points that wait to be settled."
)
LAYOUTS_LEARNT = Instrument(
    name="trimtab.layouts.learnt",
    kind="counter",
    unit="{request}",
    description="Requests whose layout was new, so that they were read field by field.",
)
CLOCKS_SKEWED = Instrument(
    name="trimtab.clocks.skewed", kind="gauge", unit="{process}", description="Senders whose clock is not used."
)
IN_FLIGHT_SIZE = Instrument(
    name="trimtab.in_flight.size",
    kind="gauge",
    unit="By",
    description="Memory that the requests which are being received hold.",
)
TICK_DURATION = Instrument(
    name="trimtab.tick.duration", kind="gauge", unit="s", description="Longest tick of the collector of late."
)
JOURNAL_SIZE = Instrument(
    name="trimtab.journal.size", kind="gauge", unit="By", description="Size of the collector's journal on disk."
)
FORWARDED_REQUESTS = Instrument(
    name="trimtab.forwarding.requests",
    kind="counter",
    unit="{request}",
    description="Requests that a back-end took; each may hold many that were received.",
)
FORWARDING_RETRIES = Instrument(
    name="trimtab.forwarding.retries",
    kind="counter",
    unit="{request}",
    description="Tries to send that failed and were made again.",
)
FORWARDING_DROPPED = Instrument(
    name="trimtab.forwarding.dropped",
    kind="counter",
    unit="{item}",
    description="Spans, points and records that a back-end did not take: with the whole request (error.type refused), "
    "or as a part of one that it took (partial).",
)
FORWARDING_LOST = Instrument(
    name="trimtab.forwarding.lost",
    kind="counter",
    unit="{request}",
    description="Requests that the full journal had to remove before a back-end had them.",
)
FORWARDING_LAG = Instrument(
    name="trimtab.forwarding.lag",
    kind="gauge",
    unit="By",
    description="Bytes of the journal that a back-end does not have yet.",
)
REMOTE_WRITE_LAG = Instrument(
    name="trimtab.remote_write.lag",
    kind="gauge",
    unit="s",
    description="How far behind what is recorded a back-end of remote write is.",
)
