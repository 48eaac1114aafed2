"""Which requests are reported as spans: by their head, as the caller or a ratio decides; by their tail, the slow ones.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.emitting.trace import Caller, Trace, new_trace_id

logger = logging.getLogger(__name__)

SLOW_QUANTILE = 0.99
"""A request is slow that takes longer than this share of those like it."""
NUM_LEARNT = 200
"""Requests before the first that may be called slow."""
_STEP = 0.05
_LIMIT = 1 << 64


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Decides by the head."""

    ratio: float
    """Of those that it decides on itself, by their trace's random id: every process decides alike."""
    asks_parent: bool = True
    """Whether a request's caller decides where it has one."""

    def begin(self, caller: Caller | None, state: str) -> Trace:
        """The request's place in the caller's trace, or in a new one."""
        if caller is None:
            trace_id = new_trace_id()
            return Trace(trace_id, 0, "", is_sampled=self._takes(trace_id))
        is_sampled = caller.is_sampled if self.asks_parent else self._takes(caller.trace_id)
        return Trace(caller.trace_id, caller.span_id, state, is_sampled=is_sampled)

    def _takes(self, trace_id: int) -> bool:
        return (trace_id & (_LIMIT - 1)) < self.ratio * _LIMIT


def sampler_of(variables: Mapping[str, str], ratio: float) -> Sampler:
    """What `OTEL_TRACES_SAMPLER` says; without it the caller decides, else `ratio`."""
    name = variables.get("OTEL_TRACES_SAMPLER", "").strip()
    given = variables.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    match name.removeprefix("parentbased_"):
        case "":
            return Sampler(ratio=ratio)
        case "always_on":
            ratio = 1.0
        case "always_off":
            ratio = 0.0
        case "traceidratio":
            ratio = _ratio(given)
        case _:
            logger.warning("OTEL_TRACES_SAMPLER must be one of OpenTelemetry's own, got %r: the ratio decides", name)
            return Sampler(ratio=ratio)
    return Sampler(ratio=ratio, asks_parent=name.startswith("parentbased_"))


def _ratio(given: str) -> float:
    try:
        ratio = float(given) if given else 1.0
    except ValueError:
        ratio = -1.0
    if 0 <= ratio <= 1:
        return ratio
    logger.warning("OTEL_TRACES_SAMPLER_ARG must lie in [0, 1], got %r: 1 is used", given)
    return 1.0


class Slowness:
    """Tells which requests are slow: above a fixed time, or above the running quantile of those before.

    The quantile is followed by stochastic approximation (Robbins and Monro 1951, Ann. Math. Statist. 22(3)), on the
    logarithm: a step up of `_STEP` times the quantile where a value lies above, down by the rest where it lies below.
    """

    __slots__ = ("_fixed_s", "_num", "_quantile_s")

    def __init__(self, fixed_s: float | None) -> None:
        self._fixed_s = fixed_s
        self._num = 0
        self._quantile_s = 0.0

    def judge(self, seconds: float) -> bool:
        """Whether a request that took so long is slow; it is learnt."""
        if self._fixed_s is not None:
            return seconds >= self._fixed_s
        quantile_s = self._quantile_s
        if seconds > quantile_s:
            self._num += 1
            self._quantile_s = max(quantile_s, 1e-6) * (1 + _STEP * SLOW_QUANTILE)
            if self._num <= NUM_LEARNT:
                self._quantile_s = max(self._quantile_s, seconds)
                return False
            return True
        self._num += 1
        self._quantile_s = quantile_s * (1 - _STEP * (1 - SLOW_QUANTILE))
        return False
