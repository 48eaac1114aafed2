"""What a rollout is to do: its steps, how long they take, and what becomes of one that nobody can judge."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deployments.errors import RequestError, brief
from deployments.rollout.analysis.settings import AnalysisSettings

SHADOW = 0.0
"""The share of a step in which the candidate answers nobody."""


class RolloutSettings(BaseModel):
    """How a new version of a model is let answer; a setting of `ModelSettings`, where it holds for each version that is
    published: none answers until it was rolled out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    shadow: bool = False
    """Whether the new version begins with copies of requests, which no client gets the answers to."""
    canary: tuple[float, ...] = (1, 10, 50)
    """Percent of the requests that the new version answers, step after step."""
    auto: bool = False
    """Whether a version that proved good in all steps is promoted; else it waits for `rollout promote`."""
    step_s: float = Field(default=60.0, gt=0)
    """Fewest seconds of a step."""
    inconclusive_s: float = Field(default=900.0, gt=0)
    """Seconds for which nothing may be said for the new version, neither good nor bad; then it is rolled back."""
    start_s: float = Field(default=300.0, gt=0)
    """Seconds within which the new version's replicas must answer."""
    window_s: float = Field(default=2.0, ge=0.5, le=60)
    """Seconds in which both versions are counted before they are compared."""
    timeout_s: float = Field(default=2.0, gt=0)
    """Seconds that the new version has for a request, or twice as long as any took the version that serves, but no more
    than half of the request's own time; then the version that serves answers it."""
    copies_per_s: float = Field(default=20.0, gt=0)
    """Most requests a second that each replica has both versions answer, to compare the answers."""
    analysis: AnalysisSettings = AnalysisSettings()
    """What makes a version good or bad."""

    @field_validator("canary")
    @classmethod
    def _rising(cls, percents: tuple[float, ...]) -> tuple[float, ...]:
        if list(percents) != sorted(set(percents)) or any(not 0 < percent <= 100 for percent in percents):
            raise ValueError("must rise, each in (0, 100]")
        return percents

    @model_validator(mode="after")
    def _tries_something(self) -> "RolloutSettings":
        if not self.steps:
            raise ValueError("canary must name a percentage where shadow is false: nothing would be tried")
        return self

    @property
    def steps(self) -> tuple[float, ...]:
        """The share of the requests that the candidate answers, in [0, 1], step after step; 0 in a shadow."""
        return (*((SHADOW,) if self.shadow else ()), *(percent / 100 for percent in self.canary))


def changed(settings: RolloutSettings, given: Mapping[str, Any]) -> RolloutSettings:
    """`settings` with what is `given` instead.

    Raises:
        RequestError: it names the setting, the rule and what was got.
    """
    try:
        return RolloutSettings.model_validate({**settings.model_dump(), **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "the rollout"
        raise RequestError(f"{name}: {first['msg']}, got {brief(first['input'])}") from error
