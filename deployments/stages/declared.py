"""What `serve_config.yaml` may say of a pipeline: stages, what each is given, and what the whole gives.

A tensor is named as in the request (`image`), or by the stage that makes it (`detect.boxes`).
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optimization.artifact.manifest import NAME_PATTERN, TensorSpec

TENSOR_PATTERN = r"^[^.\s]+(\.[^.\s]+)?$"
STAGE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

Reference = Annotated[str, Field(pattern=TENSOR_PATTERN)]
"""A tensor of the request, or `stage.tensor`."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Stage(_Settings):
    """One step of a pipeline: a model, or a function of Python."""

    name: str = Field(pattern=STAGE_PATTERN)
    """What other stages call it."""
    artifact: str | None = Field(default=None, pattern=NAME_PATTERN)
    """The model it asks."""
    call: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    """The function it calls in place of a model, as `package.module:function`: tensors by name in, and out."""
    takes: tuple[TensorSpec, ...] = ()
    """Inputs of the function; a model's are in its manifest."""
    gives: tuple[TensorSpec, ...] = ()
    """Outputs of the function; a model's are in its manifest."""
    inputs: dict[str, Reference] = {}
    """What each of its inputs is; one that is not named here is the request's tensor of the same name."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.artifact is None) == (self.call is None):
            raise ValueError("a stage is an artifact or a call: one of the two")
        if self.call and not (self.takes and self.gives):
            raise ValueError("a call must say what it takes and gives")
        if self.artifact and (self.takes or self.gives):
            raise ValueError("what an artifact takes and gives is in its manifest: takes and gives are for a call")
        return self


class Pipeline(_Settings):
    """Stages that are called as one model."""

    pipeline: str = Field(pattern=NAME_PATTERN)
    """The model's name in the protocol."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """In any order: what a stage is given says what it waits for. Several may be given the same tensor."""
    outputs: dict[str, Reference] = Field(min_length=1)
    """What the whole gives: each of its outputs, and the stage's tensor that it is."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stages must have different names, got {', '.join(twice)} twice")
        return self
