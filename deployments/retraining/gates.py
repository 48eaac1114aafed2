"""What a new version must pass before anybody is answered by it."""

from dataclasses import dataclass
from pathlib import Path

from deployments.retraining import gathering
from deployments.retraining.answers import Answers
from deployments.retraining.settings import RetrainingSettings
from optimization.artifact.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether it passed, and by what numbers."""

    passed: bool
    text: str


def checked(candidate: Path, baseline: str, data: Path, settings: RetrainingSettings) -> Check:
    """Compare the version in the directory `candidate` with the one that answers, on rows it did not learn from.

    Raises:
        ArtifactError: one of them is not to be found, or damaged.
    """
    rows, labels = gathering.read(data / gathering.HELD_OUT)
    before = Answers(settings.model, settings.artifacts, baseline)
    with before as old, Answers(str(candidate), settings.artifacts) as new:
        if new.manifest.inputs != old.manifest.inputs or new.manifest.labels != old.manifest.labels:
            return Check(passed=False, text=f"its inputs and classes must be those of version {baseline}")
        right, was_right = new.share_right(rows, labels.tolist()), old.share_right(rows, labels.tolist())
        slower = _slowdown(new.manifest, old.manifest)
    told = f"right on {right:.1%} of {len(labels):,} held-out rows, version {baseline} on {was_right:.1%}"
    if right < was_right + settings.least_gain:
        return Check(passed=False, text=f"{told}: it must gain {settings.least_gain:.1%}")
    if slower is not None and slower > settings.most_slowdown:
        return Check(passed=False, text=f"a call takes {slower:+.0%} longer: it may take {settings.most_slowdown:.0%}")
    return Check(passed=True, text=told)


def _slowdown(new: Manifest, old: Manifest) -> float | None:
    """How much longer a call of one row takes, by what was measured when they were made; none where it was not."""
    if not new.measurements or not old.measurements:
        return None
    ours, theirs = new.measurements[-1].latency_s, old.measurements[-1].latency_s
    both = ours.keys() & theirs.keys()
    return max(ours[each] / theirs[each] for each in both) - 1 if both else None
