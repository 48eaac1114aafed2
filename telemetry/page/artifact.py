"""What was measured when a model was made."""

from telemetry import conventions as names
from telemetry.page.sources import Json
from telemetry.receivers.attributes import Attributes
from telemetry.receivers.origin import Origin
from telemetry.series.service import Service

STEPS = ("teacher", "control", "distill", "prune", "sparsify", "quantize")


def artifact(service: Service, now_s: float) -> list[Json]:
    """A row for each step of making the artifact that is served now, in order, from its gauges."""
    rows: dict[str, Json] = {}

    def row(attributes: Attributes) -> Json:
        step = _step(attributes)
        return rows.setdefault(step, {"step": step, "quality": {}, "metric": "", "size": None, "latency": {}})

    def latest(metric: str) -> list[tuple[Origin, Attributes, float]]:
        return [value for value in service.values(metric, now_s)[:200] if _step(value[1])]

    for _, attributes, value in latest(names.ARTIFACT_QUALITY.name):
        row(attributes)["quality"][str(dict(attributes).get(names.STATISTIC, "value"))] = value
        row(attributes)["metric"] = str(dict(attributes).get(names.QUALITY_METRIC, "quality"))
    for _, attributes, value in latest(names.ARTIFACT_SIZE.name):
        row(attributes)["size"] = value
    for _, attributes, value in latest(names.ARTIFACT_LATENCY.name):
        row(attributes)["latency"][str(dict(attributes).get(names.BATCH_SIZE, ""))] = value
    return sorted(rows.values(), key=lambda r: STEPS.index(r["step"]) if r["step"] in STEPS else len(STEPS))


def _step(attributes: Attributes) -> str:
    return str(dict(attributes).get(names.STEP, ""))
