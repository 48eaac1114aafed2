"""How much worse a candidate may be, and what it takes to call it good."""

from pydantic import BaseModel, ConfigDict, Field

from telemetry.slo.objective import Objective


class AnalysisSettings(BaseModel):
    """What the versions of a rollout are compared by; a setting of a rollout's plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    false_alarm: float = Field(default=0.01, gt=0, lt=1)
    """Chance that a version that is no worse is ever called bad in a whole rollout, of any length and number of looks,
    all signals together."""
    error_margin: float = Field(default=0.001, ge=0, lt=1)
    """By how much the share of failed requests may exceed the baseline's."""
    latency_margin: float = Field(default=0.3, ge=0)
    """By how much a request may be slower than the baseline's of the same rank, as a share of it."""
    fidelity_margin: float = Field(default=0.005, ge=0, lt=1)
    """By how much the agreement with the teacher may fall short of the baseline's."""
    most_changed: float | None = Field(default=0.01, ge=0, lt=1)
    """Share of rows that may be answered otherwise than by the baseline where no teacher says who is right. Null: any,
    as for a version that was trained to answer otherwise."""
    answers_margin: float | None = Field(default=0.1, ge=0, lt=1)
    """By how much the share of rows with one answer may differ from the baseline's. Null: by any."""
    slice_margin: float = Field(default=0.03, ge=0, lt=1)
    """By how much a kind of requests may be answered worse than by the baseline: failed, or not as the teacher does."""
    slos: tuple[Objective, ...] | None = None
    """What is promised of the model, as in the collector's settings. Null: what those of the cluster's own collector
    promise of it when the rollout begins."""
    slo_burn: float = Field(default=14.4, gt=0)
    """How many times faster than allowed the candidate may spend an error budget, where the baseline does not."""
    leak_per_hour: float = Field(default=0.25, gt=0)
    """Share of its memory by which a process may go on growing in an hour, beyond the baseline's growth."""
    settle_s: float = Field(default=60.0, ge=0)
    """Seconds that a process may take to fill its memory, before its growth counts."""
    cpu_margin: float = Field(default=1.0, ge=0)
    """By how much a request may cost more processor time than the baseline's, as a share of it."""
    idle_cpu: float = Field(default=0.1, ge=0)
    """Processors that a process may take whatever it is asked."""
    least_requests: int = Field(default=50, ge=1)
    """Requests that the candidate must have answered in a step to be called good."""
    least_s: float = Field(default=30.0, ge=0)
    """Seconds of complete windows that a step must have for that."""
    least_compared: int = Field(default=0, ge=0)
    """Rows that must have been compared with the teacher's or the baseline's answers for that, in the whole rollout."""
