"""Each decision of a rollout, told to the collector as a log record: a mark on the page, and a cause of incidents."""

import time

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from deployments.rollout.state import Decision, Rollout
from telemetry import conventions
from telemetry.emitting.data_points import Attributes
from telemetry.emitting.emitter import Emitter
from telemetry.emitting.logs import INFO, RECORDS
from telemetry.emitting.protobuf import field
from telemetry.emitting.span_bytes import any_value


class Markers:
    """Reports by `emitter`."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def tell(self, rollout: Rollout, decision: Decision) -> None:
        """Report a decision."""
        attributes: Attributes = (
            (conventions.CHANGED_SERVICE, rollout.model),
            (conventions.MODEL_VERSION, rollout.candidate),
            (conventions.ROLLOUT_PHASE, decision.phase),
        )
        record = LogRecord(
            time_unix_nano=round(decision.at_s * 1e9),
            observed_time_unix_nano=time.time_ns(),
            severity_number=INFO,  # type: ignore[arg-type]
            event_name=conventions.ROLLOUT_DECISION,
            body=any_value(told(rollout, decision)),
            attributes=[KeyValue(key=key, value=any_value(value)) for key, value in attributes],
        )
        self._emitter.log(field(RECORDS, record.SerializeToString()))


def told(rollout: Rollout, decision: Decision) -> str:
    """A decision as a person says it."""
    step = f"{decision.phase} {decision.share:.0%}" if decision.phase == "canary" else decision.phase
    return f"version {rollout.candidate} after {rollout.baseline}, {step.replace('_', ' ')}: {decision.text}"
