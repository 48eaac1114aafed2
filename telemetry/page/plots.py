"""Which signals share a plot."""

from dataclasses import dataclass

from telemetry import conventions as names


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Signals that share one plot: the line's label and the signal's name."""

    key: str
    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    peak: bool = False
    """Whether a point stands for the largest of the values it covers, instead of their mean."""
    per_instance: str = ""
    """Metric of which each instance has a line of its own."""


PLOTS = (
    Plot(
        key="latency",
        title="Latency",
        unit="s",
        peak=True,
        lines=(("p50", "latency_p50"), ("p95", "latency_p95"), ("p99", "latency_p99")),
    ),
    Plot(key="throughput", title="Throughput", unit="/s", lines=(("requests", "throughput"), ("samples", "samples"))),
    Plot(
        key="errors",
        title="Errors",
        unit="%",
        peak=True,
        lines=(("server errors", "server_error_ratio"), ("client errors", "client_error_ratio")),
    ),
    Plot(
        key="waiting",
        title="Queue and inference, p95",
        unit="s",
        peak=True,
        lines=(("queue", "queue_p95"), ("inference", "inference_p95")),
    ),
    Plot(
        key="cascade",
        title="Cascade: rows sent on to the teacher",
        unit="%",
        lines=(
            ("sent on", "cascade_sent"),
            ("when measured", "cascade_expected"),
            ("unanswered", "cascade_unanswered"),
        ),
    ),
    Plot(key="batch", title="Batch size", unit="samples", lines=(("mean", "batch_size"),)),
    Plot(
        key="loss",
        title="Loss",
        unit="",
        lines=(("mean", "train_loss"),),
        per_instance=names.TRAIN_LOSS.name,
    ),
    Plot(key="step", title="Step time", unit="s", lines=(("mean", "train_step"), ("p95", "train_step_p95"))),
    Plot(
        key="straggler",
        title="Slowest worker's own time, relative to the others",
        unit="",
        lines=(("ratio", "straggler"),),
        peak=True,
    ),
    Plot(key="training", title="Training throughput", unit="/s", lines=(("samples", "train_samples"),)),
    Plot(
        key="cpu",
        title="CPU",
        unit="%",
        lines=(("sum", "cpu"),),
        per_instance=names.PROCESS_CPU_UTILIZATION.name,
    ),
    Plot(
        key="memory",
        title="Memory",
        unit="By",
        lines=(("sum", "memory"),),
        per_instance=names.PROCESS_MEMORY_USAGE.name,
    ),
    Plot(
        key="saturation",
        title="Saturation of the fullest process",
        unit="%",
        lines=(("taken", "saturation"),),
    ),
    Plot(key="event_loop", title="Event-loop lag", unit="s", peak=True, lines=(("p95", "event_loop_p95"),)),
    Plot(key="cost", title="Cost of a thousand requests", unit="", lines=(("cost", "cost_per_1000"),)),
    Plot(key="gpu", title="GPU", unit="%", lines=(("mean", "gpu"),)),
    Plot(key="gpu_memory", title="GPU memory", unit="By", lines=(("sum", "gpu_memory"),)),
)
