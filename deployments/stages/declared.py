"""What `serve_config.yaml` may say of a pipeline: stages, what each is given, and what the whole gives.

A tensor is named as in the request (`image`), or by the stage that makes it (`detect.boxes`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from deployments.errors import SettingsError
from deployments.replicas import source
from deployments.settings import ModelSettings, PublicKey, Scaling, ServerSettings, parse, text_of_path
from optimization.artifact.manifest import NAME_PATTERN, TensorSpec

TENSOR_PATTERN = r"^[^.\s]+(\.\S+)?$"
STAGE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
TAKEN_NAMES = ("Model",)
"""Names of other deployments in a pipeline's application."""

Reference = Annotated[str, Field(pattern=TENSOR_PATTERN)]
"""A tensor of the request, or `stage.tensor`."""


def _listed(given: object) -> object:
    return (given,) if isinstance(given, str) else given


References = Annotated[tuple[Reference, ...], BeforeValidator(_listed), Field(min_length=1, max_length=2)]
"""One tensor, or two of which each row has the one that was made for it."""

_OF_A_MODEL = (
    ModelSettings.model_fields.keys()
    - ServerSettings.model_fields.keys()
    - {"artifact", "scatter_from_samples", "embeddings"}
)
_OF_A_CALL = _OF_A_MODEL - {
    "artifacts",
    "artifacts_cache_bytes",
    "cache_bytes",
    "keep_versions",
    "signed_by",
    "version",
}


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Stage(_Settings):
    """One step of a pipeline: a model, or a function of Python."""

    name: str = Field(pattern=STAGE_PATTERN)
    """What other stages call it, and the name of its deployment in Ray Serve."""
    artifact: str | None = Field(default=None, pattern=NAME_PATTERN)
    """The model it asks."""
    part: int | None = Field(default=None, ge=1)
    """Which of the artifact's graphs it asks, the first being 1; all of them if not given."""
    call: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    """The function it calls in place of a model, as `package.module:function`: arrays by name in and out, `async` or
    not. What it is given is read-only."""
    takes: tuple[TensorSpec, ...] = ()
    """Inputs of the function; a model's are in its manifest."""
    gives: tuple[TensorSpec, ...] = ()
    """Outputs of the function; a model's are in its manifest."""
    inputs: Mapping[str, References] = {}
    """What each of its inputs is; one that is not named here is the request's tensor of the same name. Of two tensors,
    made under a condition and otherwise, each row is the one that there is."""
    when: Reference | None = None
    """A tensor of BOOL, one for each row: the stage is given the rows for which it is true, and no others."""
    unless: Reference | None = None
    """The same for which it is false."""
    own_replicas: bool = True
    """Whether it has replicas of its own; else it runs in the processes that take the requests, and costs no call."""
    settings: Mapping[str, Any] = {}
    """Of the settings of a model (`ModelSettings`) those for one stage: `num_threads`, `max_batch_size`, `accelerator`,
    `gpu_fraction`, `scaling` and so on. A call is given rows of several requests where `max_batch_size` is set."""
    num_cpus: float | None = Field(default=None, ge=0)
    """CPUs, or a part of one, that each of its replicas reserves; `num_threads` if not given."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.artifact is None) == (self.call is None):
            raise ValueError("a stage is an artifact or a call: one of the two")
        if self.call and not (self.takes and self.gives):
            raise ValueError("a call must say what it takes and gives")
        if self.artifact and (self.takes or self.gives):
            raise ValueError("what an artifact takes and gives is in its manifest: takes and gives are for a call")
        if self.call and self.part:
            raise ValueError("part is for an artifact, a call has none")
        if self.when and self.unless:
            raise ValueError("a stage has one condition: when or unless")
        if self.name in TAKEN_NAMES:
            raise ValueError(f"name must not be {self.name!r}: that is what takes the requests")
        return self

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        known = _OF_A_MODEL if self.artifact else _OF_A_CALL
        if unknown := sorted(self.settings.keys() - known):
            raise ValueError(f"settings of it are {', '.join(sorted(known))}; got {', '.join(unknown)}")
        if not self.own_replicas and (
            unused := sorted({"scaling", "accelerator", "gpu_fraction"} & self.settings.keys())
        ):
            raise ValueError(f"{unused[0]} is for a stage with own_replicas")
        if not self.own_replicas and self.num_cpus is not None:
            raise ValueError("num_cpus is for a stage with own_replicas")
        return self


class PipelineSettings(ServerSettings):
    """Arguments of `deployments.app:pipeline`: stages that are called as one model."""

    pipeline: str | None = Field(default=None, pattern=NAME_PATTERN)
    """The model's name in the protocol; that of `artifact` if not given."""
    artifact: str | None = Field(default=None, pattern=NAME_PATTERN)
    """An artifact of several graphs, in place of `stages` and `outputs`: each graph is a stage, the first in the
    processes that take the requests."""
    artifacts: Annotated[str, BeforeValidator(text_of_path), AfterValidator(source.checked)] = Field(
        default_factory=source.default, validate_default=True
    )
    """Directory or URL of the artifacts of all stages whose own settings name none."""
    signed_by: tuple[PublicKey, ...] = ()
    """Public keys, one of which must have signed each artifact, of all stages whose own settings name none."""
    stages: tuple[Stage, ...] = ()
    """In any order: what a stage is given says what it waits for. Several may be given the same tensor."""
    outputs: Mapping[str, References] = {}
    """What the whole gives: each of its outputs, and the stage's tensor that it is; two under opposite conditions."""
    max_queue_size: int = Field(default=512, ge=1, le=10**6)
    """Most requests under way in a process that takes them; one more gets status 429 and is told when to try again."""
    max_queue_bytes: int = Field(default=256 * 2**20, ge=1)
    """Most bytes that the bodies of such a process's requests under way may have together; one more gets status 429."""
    num_cpus: float | None = Field(default=None, ge=0)
    """CPUs, or a part of one, that each of the processes reserves that take requests; if not given, the most threads
    that a model has which runs there."""
    scaling: Scaling = Scaling()
    """How many processes take requests."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.artifact and (self.stages or self.outputs):
            raise ValueError("artifact stands for stages and outputs: give one or the others")
        if not self.artifact and not (self.pipeline and self.stages and self.outputs):
            raise ValueError("it needs pipeline, stages and outputs, or artifact")
        if self.max_body_bytes > self.max_queue_bytes:
            raise ValueError(f"max_queue_bytes must be at least max_body_bytes, {self.max_body_bytes}")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stages must have different names, got {', '.join(twice)} twice")
        return self

    @property
    def name(self) -> str:
        """The model's name."""
        name = self.pipeline or self.artifact
        assert name is not None, "checked above"
        return name

    def model_settings(self, stage: Stage) -> ModelSettings:
        """What `deployments.app:model` would be told of that stage.

        Raises:
            SettingsError: its own settings break a rule.
        """
        shared = {name: getattr(self, name) for name in ServerSettings.model_fields}
        shared |= {"artifacts": self.artifacts, "signed_by": self.signed_by, "max_queue_bytes": self.max_queue_bytes}
        given = {"artifact": stage.artifact or stage.name, **shared, **stage.settings}
        settings = parse(ModelSettings, given, f"stages.{stage.name}.settings")
        if settings.scaling.min_replicas < 1:
            raise SettingsError(f"stages.{stage.name}.settings.scaling.min_replicas must be at least 1, got 0")
        return settings
