"""What a recipe may say: data, teacher, and the steps that make a small model of it.

    recipe.yaml -> load -> Recipe -> run.run

Everything a recipe can get wrong is found here, before any training. Nothing here imports torch or Ray.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from optimization import problems
from optimization.artifact import NAME_PATTERN
from optimization.errors import RecipeError


def _rule(text: str) -> WrapValidator:
    """Say a type's rule in our own words when a value breaks it."""

    def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("rule", f"must {text}") from None

    return WrapValidator(check)


# Floats are not strict: YAML reads 1e-3, which lacks the dot, as a string.
Ratio = Annotated[float, Field(gt=0, lt=1), _rule("lie in (0, 1)")]
Share = Annotated[float, Field(ge=0, le=1), _rule("lie in [0, 1]")]
Positive = Annotated[float, Field(gt=0), _rule("be greater than 0")]
NonNegative = Annotated[float, Field(ge=0), _rule("be 0 or greater")]
Confidence = Annotated[float, Field(ge=0.5, lt=1), _rule("lie in [0.5, 1)")]
Count = Annotated[int, Field(ge=1, strict=True), _rule("be a whole number of at least 1")]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True), _rule("be a whole number in [0, 2^32)")]
Widths = Annotated[tuple[Count, ...], Field(min_length=1), _rule("be a list of whole numbers of at least 1")]
Choice = Annotated[tuple[Any, ...], Field(min_length=1), _rule("be a list of values to try")]
Name = Annotated[str, Field(pattern=NAME_PATTERN), _rule(f"match {NAME_PATTERN}")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, raw: Any) -> Any:
        unknown = [key for key in raw if key not in cls.model_fields] if isinstance(raw, dict) else []
        if unknown:
            hints = "; ".join(
                f"unknown setting {str(key)!r}{problems.nearest(key, list(cls.model_fields))}" for key in unknown
            )
            raise PydanticCustomError("unknown", "{hints}", {"hints": hints})
        return raw


class Digits(_Settings):
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, ten classes."""

    kind: Literal["digits"]
    """Selects this data."""
    held_out: Ratio = 1 / 3
    """Fraction of the examples kept from training, in (0, 1); every quality is measured on it."""
    shifts: bool = False
    """Whether each training image is also given shifted by one pixel up, down, left and right."""

    @property
    def side(self) -> int | None:
        """Pixels along one side of the image; none where a sample is no image."""
        return 8


class BreastCancer(_Settings):
    """scikit-learn's breast cancer data: 569 tumours, malignant or benign."""

    kind: Literal["breast_cancer"]
    """Selects this data."""
    held_out: Ratio = 1 / 3
    """Fraction of the examples kept from training, in (0, 1); every quality is measured on it."""
    num_features: Annotated[int, Field(ge=1, le=30, strict=True), _rule("be a whole number in [1, 30]")] = 8
    """How many of the 30 features to use, counted from the first."""

    @property
    def side(self) -> int | None:
        """Pixels along one side of the image; none where a sample is no image."""
        return None


Data = Annotated[Digits | BreastCancer, Field(discriminator="kind")]


class Mlp(_Settings):
    """Fully connected layers with ReLU between them."""

    kind: Literal["mlp"]
    """Selects this architecture."""
    hidden: Widths
    """Units of each hidden layer, from input to output."""


class Cnn(_Settings):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling, then fully connected layers."""

    kind: Literal["cnn"]
    """Selects this architecture."""
    channels: Widths
    """Channels of each block, from input to output; each block halves the image's side."""
    hidden: Widths
    """Units of each hidden fully connected layer."""


Model = Annotated[Mlp | Cnn, Field(discriminator="kind")]


class Training(_Settings):
    """AdamW with a learning rate that falls to zero along a half cosine."""

    epochs: Count
    """Passes over the training data."""
    batch_size: Count = 64
    """Examples in one optimizer step, over all workers together."""
    learning_rate: Positive = 0.003
    """Step size at the start."""
    weight_decay: NonNegative = 0.01
    """AdamW's decoupled weight decay."""


class Teacher(_Settings):
    """A large model to learn from."""

    model: Model
    """Its architecture."""
    training: Training
    """How it learns."""


class Distill(_Settings):
    """Train a small student on the teacher's outputs, and the same student without them as a control."""

    kind: Literal["distill"]
    """Selects this step."""
    student: Model
    """The small model's architecture."""
    temperature: Positive = 2.0
    """Softens the teacher's and the student's outputs; 1 leaves them as they are."""
    alpha: Share = 0.7
    """Weight of the teacher's outputs in the loss, in [0, 1]; the labels weigh the rest."""
    training: Training
    """How student and control learn; recovery after pruning uses this temperature and alpha too."""


class Prune(_Settings):
    """Cut neurons, channels, attention heads and whole layers, then recover by distillation."""

    kind: Literal["prune"]
    """Selects this step."""
    ratio: Ratio | None = None
    """Fraction of the hidden units to cut: neurons, channels, feed-forward units; at least one of a layer stays."""
    threshold: Positive | None = None
    """In place of `ratio`: units whose weights are smaller than this share of their layer's mean are cut."""
    heads: Ratio | None = None
    """Fraction of the attention heads to cut; at least one of a layer stays."""
    layers: Ratio | None = None
    """Fraction of the layers to leave out of each stack of equal ones, those that change their input least."""
    scope: Literal["layer", "global"] = "layer"
    """Whether each layer loses its fraction, or the weakest of all layers together go."""
    score: Literal["magnitude", "random"] = "magnitude"
    """What tells the weakest: the weights' size, or chance, as a control."""
    round_to: Count = 1
    """The number of units that stay is a multiple of this where the layer is wide enough."""
    keep: tuple[str, ...] = ()
    """Layers that stay whole, by the beginning of their name."""
    stages: Count = 1
    """Cut in this many stages, most in the first, each with a recovery of its own."""
    recovery: Training
    """How the smaller model learns again after each stage."""

    @model_validator(mode="after")
    def _say_how_much(self) -> Self:
        if (self.ratio or self.threshold or self.heads or self.layers) is None:
            raise _misfit("prune must say how much to cut: ratio, threshold, heads or layers", "none of them")
        if self.ratio is not None and self.threshold is not None:
            raise _misfit("prune must have ratio or threshold, not both", f"{self.ratio} and {self.threshold}")
        if self.threshold is not None and self.stages > 1:
            raise _misfit("prune.stages must be 1 with a threshold", self.stages)
        return self


class Sparsify(_Settings):
    """Set small weights to zero; the model keeps its shape, so it gets no faster."""

    kind: Literal["sparsify"]
    """Selects this step."""
    threshold: Positive | None = None
    """Weights of a smaller magnitude become zero."""
    ratio: Ratio | None = None
    """In place of `threshold`: fraction of the weights that become zero, the smallest first."""
    pattern: Literal["2:4"] | None = None
    """In place of both: the two smallest of every four inputs become zero, which newer GPUs multiply faster."""
    scope: Literal["layer", "global"] = "layer"
    """Whether each layer gets its fraction of zeros, or all layers together."""

    @model_validator(mode="after")
    def _say_which(self) -> Self:
        given = [name for name in ("threshold", "ratio", "pattern") if getattr(self, name) is not None]
        if len(given) != 1:
            raise _misfit("sparsify must have one of threshold, ratio, pattern", " and ".join(given) or "none of them")
        return self


class Quantize(_Settings):
    """INT8 weights and activations, or FP16 for GPUs."""

    kind: Literal["quantize"]
    """Selects this step."""
    method: Literal["static", "dynamic", "fp16"] = "static"
    """Ranges of activations set once by training data, or taken from each input as it comes (transformers); or FP16."""
    ranges: Literal["minmax", "percentile", "entropy"] = "minmax"
    """What a static range spans: all values, all but one in ten thousand, or what changes the distribution least."""
    calibration_samples: Count = 256
    """Training examples that set the ranges of the activations."""
    max_changed: Share = 0.02
    """Fraction of them that may get another class than in fp32; nodes that cost most stay in fp32 until it is met."""


Step = Annotated[Distill | Prune | Sparsify | Quantize, Field(discriminator="kind")]


def _order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    kinds = [step.kind for step in steps]
    repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if not kinds or kinds[0] != "distill":
        raise PydanticCustomError("rule", "must begin with distill, which makes the student")
    if repeated:
        raise PydanticCustomError("rule", "must name each kind once")
    if "quantize" in kinds[:-1]:
        raise PydanticCustomError("rule", "must end with quantize: an INT8 model cannot be changed further")
    return steps


class Budget(_Settings):
    """How much accuracy the small model may lose."""

    max_drop: Ratio = 0.01
    """Accuracy it may lose against the teacher, as a fraction of all examples: 0.01 is one point."""
    confidence: Confidence = 0.95
    """How sure that must be, in [0.5, 1), whichever of the trials is chosen."""


class Search(_Settings):
    """Try the steps with other settings, and publish the one that costs least within the budget."""

    budget: Budget = Budget()
    """What quality must be kept."""
    target: Literal["latency", "size", "cost"] = "latency"
    """What to make small: seconds of a call, bytes of the ONNX file, or CPU seconds per example at the best batch."""
    batch_size: Literal[1, 32] = 1
    """Batch size whose latency is the target."""
    trials: Count = 8
    """How many combinations of the choices to try: all of them where there are no more, else a random sample."""
    choices: Annotated[dict[str, Choice], Field(min_length=1), _rule("name at least one setting and its values")]
    """Values to try by setting, such as `prune.ratio: [0.3, 0.5]`; a step's kind alone takes [true, false]."""


class Recipe(_Settings):
    """How to make one small model."""

    name: Name
    """The artifact's name."""
    seed: Seed = 0
    """Seeds the split, the initial weights and the order of the examples."""
    workers: Count = 2
    """Ray Train workers that share each batch."""
    data: Data
    """What to learn from."""
    teacher: Teacher
    """The large model."""
    steps: Annotated[tuple[Step, ...], AfterValidator(_order)]
    """What makes the model small, in order: distill first, quantize last."""
    search: Search | None = None
    """Other settings of the steps to try, and how to choose; without it they are run as they stand."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for where, model in self._models():
            if not isinstance(model, Cnn):
                continue
            if self.data.side is None:
                raise _misfit(f"{where}.kind must be mlp for {self.data.kind}, whose samples are no images", "cnn")
            if self.data.side >> len(model.channels) < 1:
                rule = f"{where}.channels must halve images of {self.data.side} x {self.data.side} pixels at most "
                raise _misfit(f"{rule}{self.data.side.bit_length() - 1} times", len(model.channels))
        for where, training in self._trainings():
            if training.batch_size < self.workers:
                raise _misfit(f"{where}.batch_size must be at least workers ({self.workers})", training.batch_size)
        return self

    @property
    def distill(self) -> Distill:
        """The first step."""
        first = self.steps[0]
        assert isinstance(first, Distill)
        return first

    @property
    def sha256(self) -> str:
        """Digest of the settings, defaults included; comments and layout do not count."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _models(self) -> list[tuple[str, Mlp | Cnn]]:
        return [("teacher.model", self.teacher.model), ("distill.student", self.distill.student)]

    def _trainings(self) -> list[tuple[str, Training]]:
        recoveries = [("prune.recovery", step.recovery) for step in self.steps if isinstance(step, Prune)]
        return [
            ("teacher.training", self.teacher.training),
            ("distill.training", self.distill.training),
            *recoveries,
        ]


def load(path: Path) -> Recipe:
    """Read the recipe in the YAML file `path`.

    Raises:
        RecipeError: it cannot be read, or settings break their rules; the message names all that were found.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} must hold settings such as 'name: digits', got {type(raw).__name__}")
    return parse(raw)


def parse(raw: dict[str, Any]) -> Recipe:
    """Check the settings `raw`.

    Raises:
        RecipeError: settings break their rules; the message names all that were found, one a line.
    """
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(problems.phrase(item, raw) for item in error.errors())) from error


def _misfit(rule: str, got: object) -> PydanticCustomError:
    return PydanticCustomError("misfit", "{text}", {"text": f"{rule}, got {got!r}"})
