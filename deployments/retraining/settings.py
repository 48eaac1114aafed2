"""What a loop of retraining does, and how far it may go."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from deployments.commands.client import LOCAL
from deployments.errors import SettingsError
from deployments.replicas import source
from deployments.settings import parse, text_of_path
from optimization.artifact.manifest import NAME_PATTERN

Signal = Literal["drift", "data_quality", "fidelity", "accuracy"]


class RetrainingSettings(BaseModel):
    """The file of `python -m deployments retrain`; relative paths start at the file's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    model: str = Field(pattern=NAME_PATTERN)
    """Name of the model that is trained again; its settings have `samples` and `rollout`."""
    recipe: Path
    """The recipe, in which `{gathered}` stands for the folder of the gathered rows."""
    samples: Path
    """`samples.folder` of the model's settings."""
    artifacts: Annotated[str, BeforeValidator(text_of_path), AfterValidator(source.checked)] = "artifacts"
    """Where the model's versions come from and the new one goes: a directory or URL, as in the model's settings."""
    state: Path
    """Folder of what the loop knows and makes; a loop that was killed goes on from it."""
    teacher: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Artifact whose answers label rows that have no label of their own. Null: only rows with feedback are used."""
    url: str = LOCAL
    """The server of the model; `TRIMTAB_KEY` is the key it is asked with, of the role `admin`."""
    telemetry: str | None = None
    """The collector's page, `<url>/telemetry` if not given."""
    signals: tuple[Signal, ...] = ("drift", "fidelity", "accuracy")
    """Alerts that lead to a training."""
    least_rows: int = Field(default=500, ge=10)
    """Labelled rows, sampled since the alert's cause began, that a training needs."""
    most_rows: int = Field(default=20_000, ge=10)
    """Most rows that are used; the latest."""
    gather_s: float = Field(default=86_400.0, gt=0)
    """Seconds within which there must be `least_rows`."""
    held_out: float = Field(default=0.25, gt=0, lt=1)
    """Share of the rows that the training does not learn from, by which the new version is compared with the old."""
    cpu_hours: float = Field(default=1.0, gt=0)
    """Hours of a processor that a training may take, all its processes together; then it is ended."""
    nice: int = Field(default=19, ge=0, le=19)
    """How far the training stands back behind other processes of its host."""
    least_gain: float = Field(default=0.0, ge=-1, le=1)
    """By how much the new version must be right more often on the held-out rows, as a share of them."""
    most_slowdown: float = Field(default=0.25, ge=0)
    """By how much a call of the new version may take longer than one of the old, as a share, by their manifests."""
    approval: bool = False
    """Whether a person must approve before the new version is rolled out: `retrain --approve` or `--reject`."""
    approval_s: float = Field(default=7 * 86_400.0, gt=0)
    """Seconds for which that is waited for; then the new version is dropped."""
    rollout: dict[str, Any] = {"auto": True, "analysis": {"most_changed": None, "answers_margin": None}}
    """What the rollout is begun with beside the version. A version that is to answer otherwise than the old one is
    not judged by how many answers change."""
    rest_s: float = Field(default=3600.0, ge=0)
    """Seconds after the end of one training before another may begin."""
    poll_s: float = Field(default=5.0, gt=0)
    """Seconds between two looks at alerts, rows or the rollout."""
    keep: int = Field(default=5, ge=1)
    """Trainings whose rows and artifacts are kept on disk; those of older ones go."""


def read(path: Path) -> RetrainingSettings:
    """The settings in a YAML file.

    Raises:
        SettingsError: it cannot be read, or a setting breaks a rule.
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} must be a YAML file: {error}") from error
    if not isinstance(given, dict):
        raise SettingsError(f"{path} must hold settings by name, got {type(given).__name__}")
    settings = parse(RetrainingSettings, given, path.name)
    here = path.parent.absolute()
    paths = {name: here / getattr(settings, name) for name in ("recipe", "samples", "state")}
    where = settings.artifacts if source.is_url(settings.artifacts) else str(here / settings.artifacts)
    return settings.model_copy(update={**paths, "artifacts": where})
