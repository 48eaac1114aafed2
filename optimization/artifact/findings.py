"""What a report shows besides the measurements; part of the manifest, so that it can be asked for later too."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Finding(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Difference(_Finding):
    """What one model's quality loses against another's, on the same held-out examples."""

    reference: str
    """The step whose model it is compared with."""
    other: str
    num_lost: int | None = None
    """Examples that only the reference gets right; none where quality is no share of right answers."""
    num_won: int | None = None
    """Examples that only the other gets right."""
    num_samples: int
    drop: float
    """How much worse the other is than the reference, in units of the measure."""
    low: float
    """Of the drop's 95 % interval."""
    high: float
    is_share: bool = True
    """Whether the measure is told in percent, and the drop in points."""


class Speedup(_Finding):
    """How many times faster one model is than another that it took turns with."""

    reference: str
    """The step whose model it is compared with."""
    other: str
    batch_size: int
    value: float
    low: float
    """Of the 95 % interval of the ratio."""
    high: float


class Layer(_Finding):
    """One weight of the model that is served."""

    name: str
    shape: tuple[int, ...]
    sparsity: float
    """Fraction of its elements that are zero."""
    datatype: str
    sensitivity: float | None = None
    """Fraction of validation examples that get another class with this layer alone in INT8; none where unmeasured."""


class Trial(_Finding):
    """One combination of a search's choices, and what came of it."""

    settings: dict[str, Any]
    """Its value of each choice."""
    outcome: Literal["measured", "stopped", "failed"]
    note: str = ""
    """When it was stopped, or why it failed."""
    accuracy: float | None = None
    """Its quality, by whatever measure."""
    low: float | None = None
    """Of the quality's 95 % interval."""
    high: float | None = None
    drop: float | None = None
    """How much worse than the teacher it is."""
    p_value: float | None = None
    """How often a model outside the budget would look this good."""
    is_proven: bool = False
    """Whether it lies within the budget, with the budget's confidence for all trials together."""
    size_bytes: int | None = None
    latency_s: dict[int, float] = {}
    """Median seconds of a call by batch size, all trials taking turns."""
    latency_interval_s: dict[int, tuple[float, float]] = {}
    """95 % interval of that median, by batch size."""
    on_front: bool = False
    """Whether no other trial beats it in both the target and quality."""


class SearchResult(_Finding):
    """How the published model was chosen."""

    target: Literal["latency", "size", "cost"]
    batch_size: int
    """Whose latency was the target."""
    max_drop: float
    confidence: float
    measure: str = "accuracy"
    """What quality was."""
    is_share: bool = True
    """Whether that is told in percent."""
    chosen: int
    """Which of the trials is published."""
    is_proven: bool
    """Whether held-out examples, which chose nothing, prove that the published model lies within the budget."""
    num_samples_needed: int | None = None
    """Held-out examples that would prove it, were the answers to more of them alike; none where that would not help."""
    trials: tuple[Trial, ...]


class Examples(_Finding):
    """How many examples there were of each part of the data, none of which is in two."""

    num_train: int
    """What models learned from."""
    num_unlabelled: int = 0
    """How many of these had no label, so that only the teacher said something of them."""
    num_validation: int
    """What decided: trials that were stopped or chosen, weights that stayed in fp32, INT8 or fp32."""
    num_held_out: int
    """What every quality is reported on, read once all had been decided."""


Precision = Literal["fp32", "bf16"]
"""Numbers that the products of a training, or of a teacher that answers, are computed in."""


class PrecisionChoice(_Finding):
    """The precision that was measured to be the faster one, among those that come to the same."""

    precision: Precision
    seconds: dict[Precision, float]
    """What a step, or an answer to a batch, takes on the slowest worker."""
    alike: float
    """Cosine between what both give: the gradients of a step, or the answers."""
    processor: str
    """Where it was measured."""


Kernel = Literal["signed", "signed_7_bits", "unsigned"]
"""How 8-bit weights are held."""


class KernelChoice(_Finding):
    """How weights are held in INT8: the fastest way among those that change the outputs little."""

    kernel: Kernel
    seconds: dict[Kernel, float]
    """What some batches of validation examples take."""
    changed: dict[Kernel, float]
    """Root mean squared difference of the outputs from those in fp32."""
    processor: str
    """Where it was measured."""


class Control(_Finding):
    """How the control was trained: as the student in its first step, from the same start, but from labels alone."""

    step: str
    """The step that it takes without the teacher."""
    num_steps: int
    """Optimizer steps, as many as the student's."""
    num_repeated: int = 0
    """Examples of each epoch that have no label, in whose place labelled ones came again."""


class Findings(_Finding):
    """What was found on the way; every part may be empty."""

    examples: Examples | None = None
    control: Control | None = None
    notes: tuple[str, ...] = ()
    """What else a reader of the figures should know, a sentence each."""
    losses: dict[str, tuple[float, ...]] = {}
    """Mean training loss of each epoch, by step."""
    precisions: dict[str, PrecisionChoice] = {}
    """Chosen by measurement, by step; `answers` are the teacher's."""
    kernel: KernelChoice | None = None
    """Of an INT8 model whose training did not round already."""
    differences: tuple[Difference, ...] = ()
    speedups: tuple[Speedup, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Held-out examples by class (row) and by the class that is served for them (column)."""
    layers: tuple[Layer, ...] = ()
    scores: dict[str, dict[str, float]] = {}
    """Of models that write texts: further qualities by step and name, such as BLEU in 0 to 100."""
    search: SearchResult | None = None
