"""One training from its alert to its end: what a state may become. Nothing here knows a file, a clock or a server."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Phase = Literal["gathering", "training", "checking", "awaiting_approval", "rolling_out", "promoted", "dropped"]

_NEXT: dict[Phase, tuple[Phase, ...]] = {
    "gathering": ("training", "dropped"),
    "training": ("checking", "dropped"),
    "checking": ("awaiting_approval", "rolling_out", "dropped"),
    "awaiting_approval": ("rolling_out", "dropped"),
    "rolling_out": ("promoted", "dropped"),
    "promoted": (),
    "dropped": (),
}


class Decision(BaseModel):
    """What was decided, when and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_s: float
    phase: Phase
    text: str


class Training(BaseModel):
    """What is known of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    model: str
    alert: int
    """The collector's number of the alert that led to it."""
    alerted_s: float
    """When what the alert tells of began, Unix seconds."""
    phase: Phase
    since_s: float
    """When the phase began."""
    baseline: str | None = None
    """The version that answered while rows were gathered."""
    candidate: str | None = None
    """The version that was made."""
    cpu_s: float = 0.0
    """Seconds of a processor that were spent on it."""
    decisions: tuple[Decision, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to do."""
        return not _NEXT[self.phase]

    @property
    def text(self) -> str:
        """Why it is where it is."""
        return self.decisions[-1].text


def begun(number: int, model: str, *, alert: int, alerted_s: float, at_s: float, why: str) -> Training:
    """A training that an alert led to."""
    first = Decision(at_s=at_s, phase="gathering", text=why)
    return Training(
        id=number,
        model=model,
        alert=alert,
        alerted_s=alerted_s,
        phase="gathering",
        since_s=at_s,
        decisions=(first,),
    )


def moved(training: Training, phase: Phase, *, at_s: float, why: str, **known: str | None) -> Training:
    """The same in another phase, with what is `known` by now.

    Raises:
        ValueError: that phase cannot follow.
    """
    if phase not in _NEXT[training.phase]:
        raise ValueError(f"after {training.phase} must come {' or '.join(_NEXT[training.phase])}, got {phase}")
    decisions = (*training.decisions, Decision(at_s=at_s, phase=phase, text=why))
    return training.model_copy(update={**known, "phase": phase, "since_s": at_s, "decisions": decisions})
