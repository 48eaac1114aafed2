"""What a recipe of text pairs may say: pairs to learn from, an encoder-decoder as teacher, and how it becomes small.

A recipe is one of pairs if its data is: `data: {kind: pairs, ...}`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from optimization.errors import RecipeError
from optimization.recipe import wording
from optimization.recipe.methods import Training
from optimization.recipe.recipe import Named
from optimization.recipe.settings import Count, Index, NonNegative, Positive, Ratio, Settings, Share, misfit, rule


class Pairs(Settings):
    """A CSV, TSV, JSONL or Parquet file of texts and what is to be written for them, read through Ray Data."""

    kind: Literal["pairs"]
    """Selects this data."""
    train: str
    """The file, or a folder of such files."""
    held_out: Ratio | str = 0.2
    """Fraction of the pairs kept from training, in (0, 1), or where the held-out pairs lie."""
    validation: Ratio | str = 0.1
    """Fraction of the others that decide between models and teach none, in (0, 1), or where such pairs lie."""
    text: str = "text"
    """Column of what is read."""
    target: str = "target"
    """Column of what is to be written."""
    tokenizer: str
    """A tokenizer.json, a folder that holds one, or a Hugging Face hub name; it serves both sides."""
    max_length: Count = 64
    """Tokens of a text, special ones included, and most that are written; what is longer is cut."""


class EncoderDecoder(Settings):
    """An encoder-decoder of Hugging Face, such as T5, BART or Marian (extra `seq2seq`)."""

    kind: Literal["huggingface"]
    """Selects this architecture."""
    name: str
    """Hub name or local folder: its configuration, and its weights unless `pretrained` is false."""
    pretrained: bool = True
    """Whether to begin with its weights; else at random."""
    overrides: dict[str, Any] = Field(default={})
    """Changes to its configuration, such as `num_decoder_layers: 1`."""


Layers = Annotated[tuple[Index, ...], Field(min_length=1), rule("be a list of layers, counted from 0")]


class TeacherStacks(Settings):
    """A student made of some of the teacher's layers, with their weights (Shleifer & Rush 2020, arXiv:2010.13002)."""

    kind: Literal["teacher_layers"]
    """Selects this architecture."""
    encoder: Layers
    """Layers of the encoder to keep, counted from 0."""
    decoder: Layers
    """Layers of the decoder to keep; the decoder runs once a word, so it costs most."""


class SequenceTeacher(Settings):
    """The large model, whose texts the student learns."""

    model: EncoderDecoder
    """Its architecture."""
    training: Training | None = None
    """How it is trained on the pairs; without it, the model is used with the weights it comes with."""


class SequenceDistill(Settings):
    """Train a student on what the teacher writes, and the same student on the pairs' own targets as a control."""

    kind: Literal["distill"]
    """Selects this step."""
    student: Annotated[EncoderDecoder | TeacherStacks, Field(discriminator="kind")]
    """The small model's architecture."""
    beams: Count = 4
    """Beams of the search by which the teacher writes; 1 is greedy."""
    alpha: Share = 0.0
    """Weight of the teacher's distribution of each word in the loss, in [0, 1]; what it wrote weighs the rest."""
    temperature: Positive = 1.0
    """Softens both distributions."""
    training: Training
    """How student and control learn."""


class SequenceQuantize(Settings):
    """INT8 weights; the range of activations is taken from each input."""

    kind: Literal["quantize"]
    """Selects this step."""
    calibration_samples: Count = 64
    """Validation pairs whose next word is compared with that in fp32."""
    max_changed: NonNegative = 0.02
    """Fraction of them that may get another next word; nodes that cost most stay in fp32 until it is met."""
    publish: Literal["faster", "always"] = "faster"
    """Whether fp32 is published where INT8 is not faster on this machine."""


SequenceStep = Annotated[SequenceDistill | SequenceQuantize, Field(discriminator="kind")]


def _order(steps: tuple[SequenceStep, ...]) -> tuple[SequenceStep, ...]:
    if tuple(step.kind for step in steps) not in (("distill",), ("distill", "quantize"), ("quantize",)):
        raise PydanticCustomError("rule", "must be distill, quantize, or one after the other, for text pairs")
    return steps


class SequenceRecipe(Named):
    """How to make one small encoder-decoder."""

    data: Pairs
    """What to learn from."""
    teacher: SequenceTeacher
    """The large model."""
    steps: Annotated[tuple[SequenceStep, ...], AfterValidator(_order)]
    """What makes the model small, in order."""

    @model_validator(mode="after")
    def _fit_together(self) -> "SequenceRecipe":
        trainings = [("teacher.training", self.teacher.training)]
        trainings += [("distill.training", step.training) for step in self.steps if isinstance(step, SequenceDistill)]
        for where, training in trainings:
            if training is not None and training.batch_size < self.workers * training.accumulate:
                least = self.workers * training.accumulate
                raise misfit(f"{where}.batch_size must be at least workers x accumulate ({least})", training.batch_size)
        return self


def parse(raw: dict[str, Any]) -> SequenceRecipe:
    """Check the settings `raw`.

    Raises:
        RecipeError: settings break their rules, or name files that are not there; the message names all, one a line.
    """
    recipe = wording.checked(SequenceRecipe, raw)
    named = {"train": recipe.data.train, "held_out": recipe.data.held_out, "validation": recipe.data.validation}
    lacking = [
        f"data.{field} must exist, got {path!r}"
        for field, path in named.items()
        if isinstance(path, str) and not Path(path).exists()
    ]
    if lacking:
        raise RecipeError("\n".join(lacking))
    return recipe
