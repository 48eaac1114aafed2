"""What a model has answered since it was loaded, as Triton's statistics extension tells it.

Durations add up in nanoseconds, so that a client's difference of two samples is what happened between them.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from collections.abc import Iterable, Mapping
from typing import Any

from deployments.execution.prediction import BatchDone, Prediction

ModelStatistics = dict[str, Any]
"""One version's statistics, in the extension's JSON."""

_SUMS = ("inference_count", "execution_count")


class _Duration:
    """How often something happened and how long it took in all."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = self.ns = 0

    def add(self, ns: int) -> None:
        self.count += 1
        if ns > 0:  # else the clock has been set back meanwhile
            self.ns += ns

    def snapshot(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


class _Batches:
    """Calls of the model with one number of samples."""

    __slots__ = ("infer", "input", "output")

    def __init__(self) -> None:
        self.input, self.infer, self.output = _Duration(), _Duration(), _Duration()

    def add(self, done: BatchDone) -> None:
        self.input.add(round(done.input_s * 1e9))
        self.infer.add(round((done.duration_s - done.input_s) * 1e9))
        self.output.add(round(done.output_s * 1e9))

    def snapshot(self) -> dict[str, dict[str, int]]:
        return {
            "compute_input": self.input.snapshot(),
            "compute_infer": self.infer.snapshot(),
            "compute_output": self.output.snapshot(),
        }


class Statistics:
    """Counts for one version of a model in one replica."""

    def __init__(self, name: str, version: str) -> None:
        self._name = name
        self._version = version
        self._last_ns = 0
        self._success, self._fail, self._cache_hit, self._queue = _Duration(), _Duration(), _Duration(), _Duration()
        self._input, self._infer, self._output = _Duration(), _Duration(), _Duration()
        self._batches: dict[int, _Batches] = {}
        self._num_samples = 0

    def batch(self, done: BatchDone) -> None:
        """Count one call of the model."""
        self._num_samples += done.num_samples
        batches = self._batches.get(done.num_samples)
        if batches is None:
            batches = self._batches[done.num_samples] = _Batches()
        batches.add(done)

    def request(self, start_ns: int, end_ns: int, prediction: Prediction | None, *, has_failed: bool) -> None:
        """Count a request that began at `start_ns` and had its response at `end_ns`."""
        if has_failed:
            self._fail.add(end_ns - start_ns)
            return
        self._last_ns = end_ns
        self._success.add(end_ns - start_ns)
        if prediction is None or prediction.is_cached:
            self._cache_hit.add(end_ns - start_ns)
            return
        self._input.add(prediction.submitted_ns - start_ns)
        self._queue.add(prediction.started_ns - prediction.submitted_ns)
        self._infer.add(prediction.ended_ns - prediction.started_ns)
        self._output.add(end_ns - prediction.ended_ns)

    def snapshot(self) -> ModelStatistics:
        """Of a request, reading it counts as its input and writing the response as its output; of a batch, putting the
        requests together and giving each its rows."""
        return {
            "name": self._name,
            "version": self._version,
            "last_inference": self._last_ns // 1_000_000,
            "inference_count": self._num_samples,
            "execution_count": sum(each.infer.count for each in self._batches.values()),
            "inference_stats": {
                "success": self._success.snapshot(),
                "fail": self._fail.snapshot(),
                "queue": self._queue.snapshot(),
                "compute_input": self._input.snapshot(),
                "compute_infer": self._infer.snapshot(),
                "compute_output": self._output.snapshot(),
                "cache_hit": self._cache_hit.snapshot(),
            },
            "batch_stats": [{"batch_size": size, **each.snapshot()} for size, each in sorted(self._batches.items())],
        }


def together(replicas: Iterable[Iterable[ModelStatistics]]) -> list[ModelStatistics]:
    """The statistics of several replicas as if they were one, by version."""
    found: dict[str, list[ModelStatistics]] = {}
    for told in (told for replica in replicas for told in replica):
        found.setdefault(told["version"], []).append(told)
    return [_sum(found[version]) for version in sorted(found, key=int)]


def _sum(parts: list[ModelStatistics]) -> ModelStatistics:
    sizes = sorted({batch["batch_size"] for part in parts for batch in part["batch_stats"]})
    batches = [[b for part in parts for b in part["batch_stats"] if b["batch_size"] == size] for size in sizes]
    return {
        **parts[0],
        "last_inference": max(part["last_inference"] for part in parts),
        **{name: sum(part[name] for part in parts) for name in _SUMS},
        "inference_stats": _durations([part["inference_stats"] for part in parts]),
        "batch_stats": [
            {"batch_size": size, **_durations([{**batch, "batch_size": None} for batch in same])}
            for size, same in zip(sizes, batches, strict=True)
        ],
    }


def _durations(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = [name for name, duration in parts[0].items() if duration is not None]
    return {name: {field: sum(part[name][field] for part in parts) for field in ("count", "ns")} for name in names}
