"""What a recipe may say of the steps that make a model small, and of how it is trained in them."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from optimization.recipe.architectures import Student
from optimization.recipe.settings import Count, Fraction, NonNegative, Positive, Ratio, Settings, Share, misfit
from optimization.recipe.teaching import Teaching, Transfers

SetPrecision = Literal["auto", "fp32", "bf16"]


class Training(Settings):
    """AdamW with a learning rate that rises along a line and falls to zero along a half cosine."""

    epochs: Count
    """Passes over the training data."""
    batch_size: Count = 64
    """Examples in one optimizer step, over all workers together."""
    learning_rate: Positive = 0.003
    """Step size at the start."""
    weight_decay: NonNegative = 0.01
    """AdamW's decoupled weight decay."""
    warmup: Fraction = 0.0
    """Fraction of the steps in which the learning rate rises, in [0, 1)."""
    accumulate: Count = 1
    """Parts that a worker computes its share of a batch in, where the whole does not fit into memory."""
    precision: SetPrecision = "auto"
    """Numbers of the products in training; weights stay fp32. `auto` tries both and takes the faster one that
    comes to the same (fp32 where `sharded`)."""
    sharded: bool = False
    """Whether workers keep parts of the weights (FSDP2), for models that do not fit into one; else copies (DDP)."""


class Recovery(Training):
    """Training of a model that was cut or rounds, by the recipe's teacher."""

    temperature: Positive | None = None
    """As in `distill`; what that step says where left out, here and in the next two, else its defaults."""
    alpha: Share | None = None
    """As in `distill`."""
    soft_loss: Literal["kl", "mse"] | None = None
    """As in `distill`."""
    transfer: Transfers = ()
    """As in `distill`, of which nothing is taken over here: a smaller model may lack the layers."""

    def teaching(self, first: Teaching) -> Teaching:
        """What is learned from the teacher, after what the `first` step says of it."""
        own = self.model_dump(include={"temperature", "alpha", "soft_loss"}, exclude_none=True)
        return first.model_copy(update=own | {"transfer": self.transfer})


class Distill(Teaching):
    """Train a small student on the teacher's outputs, and the same student without them as a control."""

    kind: Literal["distill"]
    """Selects this step."""
    student: Student
    """The small model's architecture."""
    training: Training
    """How student and control learn."""


class Prune(Settings):
    """Cut neurons, channels, attention heads and whole layers, then recover by distillation."""

    kind: Literal["prune"]
    """Selects this step."""
    ratio: Ratio | None = None
    """Fraction of the hidden units to cut: neurons, channels, feed-forward units; at least one of a layer stays."""
    min_score: Positive | None = None
    """In place of `ratio`: units that `score` puts below this share of their layer's mean are cut."""
    heads: Ratio | None = None
    """Fraction of the attention heads to cut; at least one of a layer stays."""
    layers: Ratio | None = None
    """Fraction of the layers to leave out of each stack of equal ones, those the outputs miss least (or by `score`)."""
    scope: Literal["layer", "global"] = "layer"
    """Whether each layer, or stack of layers, loses its fraction, or the weakest of all together go."""
    score: Literal["magnitude", "taylor", "movement", "random"] = "magnitude"
    """What tells the weakest: size, how the loss rises without them, shrinking in training, or chance, as a control."""
    round_to: Count = 1
    """The number of units that stay is a multiple of this where the layer is wide enough."""
    keep: tuple[str, ...] = ()
    """Layers that stay whole, by the beginning of their name."""
    stages: Count = 1
    """Cut in this many stages, most in the first, each with a recovery of its own."""
    recovery: Recovery
    """How the smaller model learns again after each stage."""

    renamed: ClassVar[Mapping[str, str]] = {"threshold": "min_score"}

    @model_validator(mode="after")
    def _say_how_much(self) -> Self:
        if (self.ratio or self.min_score or self.heads or self.layers) is None:
            raise misfit("prune must say how much to cut: ratio, min_score, heads or layers", "none of them")
        if self.ratio is not None and self.min_score is not None:
            raise misfit("prune must have ratio or min_score, not both", f"{self.ratio} and {self.min_score}")
        if self.min_score is not None and self.stages > 1:
            raise misfit("prune.stages must be 1 with min_score", self.stages)
        return self


class Sparsify(Settings):
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
    stages: Count = 1
    """Reach `ratio` in this many stages, most in the first, each with a recovery of its own."""
    recovery: Recovery | None = None
    """How the other weights learn again after each stage, while zeros stay zero; none to leave them as they are."""

    @model_validator(mode="after")
    def _say_which(self) -> Self:
        given = [name for name in ("threshold", "ratio", "pattern") if getattr(self, name) is not None]
        if len(given) != 1:
            raise misfit("sparsify must have one of threshold, ratio, pattern", " and ".join(given) or "none of them")
        if self.stages > 1 and (self.ratio is None or self.recovery is None):
            raise misfit("sparsify.stages must be 1 without ratio and recovery", self.stages)
        return self


class Quantize(Settings):
    """INT8 weights and activations, or FP16 for GPUs."""

    kind: Literal["quantize"]
    """Selects this step."""
    method: Literal["static", "dynamic", "qat", "fp16"] = "static"
    """Activations' ranges set once, or taken from each input; static after training that rounds; or FP16 for GPUs."""
    ranges: Literal["minmax", "percentile", "entropy"] = "minmax"
    """What a static range spans: all values, all but one in ten thousand, or what changes the distribution least."""
    calibration_samples: Count = 256
    """Training examples that set the ranges of the activations; as many of the validation examples judge the result."""
    max_changed: Share = 0.02
    """Fraction of those that may get another class than in fp32; nodes that cost most stay in fp32 until it is met."""
    publish: Literal["faster", "always"] = "faster"
    """Whether fp32 is published where INT8 is not faster on this machine, on average over the batch sizes measured."""
    training: Recovery | None = None
    """How the model learns to bear rounding, with method `qat`."""

    @model_validator(mode="after")
    def _train_to_round(self) -> Self:
        if (self.method == "qat") != (self.training is not None):
            got = f"method {self.method} {'without' if self.training is None else 'with'} training"
            raise misfit("quantize must have training with method qat, and only then", got)
        return self


Step = Annotated[Distill | Prune | Sparsify | Quantize, Field(discriminator="kind")]
