"""What a recipe may say: data, teacher, and the steps that make a small model of it.

    recipe.yaml -> load -> Recipe -> run.run

Everything a recipe can get wrong is found here, before any training. Nothing here imports torch or Ray.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from optimization.errors import RecipeError
from optimization.identity import content
from optimization.recipe import wording
from optimization.recipe.architectures import BagOfNgrams, Cnn, HuggingFaceModel, Model, Resnet, Student, TextCnn
from optimization.recipe.methods import Distill, Prune, Quantize, Recovery, SetPrecision, Sparsify, Step, Training
from optimization.recipe.settings import (
    Choice,
    Confidence,
    Count,
    MeasureChoice,
    Name,
    Positive,
    Seed,
    Settings,
    misfit,
    rule,
)
from optimization.recipe.sources import Data, TorchData, is_streamed
from optimization.recipe.teaching import Teaching


class Teacher(Settings):
    """A large model to learn from, or one of another framework that is only to be quantized."""

    model: Model | None = None
    """Its architecture."""
    training: Training | None = None
    """How it is trained; without it, the model is used as it is, with the weights it comes with."""
    onnx: str | None = None
    """Path of an ONNX file, or of what becomes one: a Keras 3 file (.keras; extra `keras`), the folder of a TensorFlow
    SavedModel (extra `tensorflow`); it gives logits or probabilities of the data's classes."""
    output: Literal["logits", "probabilities"] | None = None
    """What an ONNX file gives, where its graph does not tell by ending in a softmax or sigmoid."""
    publish: bool = False
    """Whether it is published too, as the artifact `<name>-teacher`, to be served beside the small model."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.model is None) == (self.onnx is None):
            raise misfit("teacher must have either model or onnx", "neither" if self.model is None else "both")
        if self.onnx is not None and self.training is not None:
            raise misfit("teacher.training must be left out for an ONNX file, which cannot be trained", "training")
        if self.onnx is None and self.output is not None:
            raise misfit("teacher.output must be left out where teacher.onnx is: our models give logits", self.output)
        return self


def _order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    kinds = [step.kind for step in steps]
    repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if not kinds:
        raise PydanticCustomError("rule", "must name at least one step")
    if "distill" in kinds[1:]:
        raise PydanticCustomError("rule", "must begin with distill, which makes the student")
    if repeated:
        raise PydanticCustomError("rule", "must name each kind once")
    if "quantize" in kinds[:-1]:
        raise PydanticCustomError("rule", "must end with quantize: an INT8 model cannot be changed further")
    return steps


class Budget(Settings):
    """How much quality the small model may lose."""

    max_drop: Positive = 0.01
    """Quality it may lose against the teacher, in units of the measure: of accuracy, 0.01 is one point."""
    confidence: Confidence = 0.95
    """How sure that must be, in [0.5, 1), whichever of the trials is chosen."""


class Search(Settings):
    """Try the steps with other settings, and publish the one that costs least within the budget."""

    budget: Budget = Budget()
    """What quality must be kept."""
    target: Literal["latency", "size", "cost"] = "latency"
    """What to make small: seconds of a call, bytes of the ONNX file, or CPU seconds per example at the best batch."""
    batch_size: Literal[1, 32] = 1
    """Batch size whose latency is the target."""
    trials: Count = 8
    """How many combinations of the choices to try: all of them where there are no more, else a random sample."""
    choices: Annotated[dict[str, Choice], Field(min_length=1), rule("name at least one setting and its values")]
    """Values to try by setting, such as `prune.ratio: [0.3, 0.5]`; a step's kind alone takes [true, false]."""


class Named(Settings):
    """What every recipe has."""

    name: Name
    """The artifact's name."""
    seed: Seed = 0
    """Seeds the split, the initial weights and the order of the examples."""
    workers: Count = 2
    """Ray Train workers that share each batch."""
    cpus_per_worker: Count = 1
    """CPUs of each worker, that it computes on together; without a GPU, one large worker spares averaging gradients."""
    min_workers: Count | None = None
    """Workers to start or go on with while the cluster has no room for more; none waits for all of them."""

    @model_validator(mode="after")
    def _start_with_some(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise misfit(f"min_workers must be at most workers ({self.workers})", self.min_workers)
        return self

    @property
    def num_cpus(self) -> int:
        """CPUs of all workers together."""
        return self.workers * self.cpus_per_worker

    @property
    def sha256(self) -> str:
        """Digest of the settings, defaults included; comments and layout do not count."""
        return content.of_values(self.model_dump(mode="json"))


class Recipe(Named):
    """How to make one small model."""

    data: Data
    """What to learn from."""
    teacher: Teacher
    """The large model."""
    steps: Annotated[tuple[Step, ...], AfterValidator(_order)]
    """What makes the model small, in order: distill first, quantize last; without distill, the teacher is cut."""
    measure: MeasureChoice | None = None
    """What quality is; none takes the task's first, which is accuracy where a sample has one class."""
    search: Search | None = None
    """Other settings of the steps to try, and how to choose; without it they are run as they stand."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.search is not None and is_streamed(self.data):
            raise misfit("data.stream must be false with search, whose trials take all CPUs", got=True)
        if self.min_workers is not None and is_streamed(self.data):
            raise misfit("min_workers must be left out where data.stream is true", self.min_workers)
        for where, model in self._models():
            if isinstance(model, Cnn | Resnet):
                self._fit_image(where, model)
            if isinstance(model, HuggingFaceModel | TextCnn | BagOfNgrams) and not self.data.is_text:
                self._fit_pictures(where, model)
        if self.distill is not None and isinstance(self.distill.student, TextCnn | BagOfNgrams):
            kinds = [step.kind for step in self.steps]
            if "prune" in kinds:
                rule = f"steps must not prune a {self.distill.student.kind}, which is made as narrow as is wanted"
                raise misfit(rule, ", ".join(kinds))
        for where, training in self._trainings():
            if training.batch_size < self.workers * training.accumulate:
                times = f" x accumulate ({training.accumulate})" if training.accumulate > 1 else ""
                raise misfit(
                    f"{where}.batch_size must be at least workers ({self.workers}){times}", training.batch_size
                )
            if training.sharded and where != "teacher.training":
                raise misfit(f"{where}.sharded must be false: only a teacher is that large", training.sharded)
        if self.teacher.onnx is not None and any(step.kind != "quantize" for step in self.steps):
            alone = "steps must be quantize alone where the teacher is an ONNX file"
            raise misfit(alone, ", ".join(step.kind for step in self.steps))
        return self

    def _fit_image(self, where: str, model: Cnn | Resnet) -> None:
        if isinstance(self.data, TorchData):
            return  # its shape is known once it is loaded
        sides = self.data.sides
        if sides is None or (isinstance(model, Resnet) and len(sides) != 2):
            raise misfit(f"{where}.kind must be mlp for {self.data.kind}, whose samples are no images", model.kind)
        if isinstance(model, Cnn) and min(sides) >> len(model.channels) < 1:
            size = " x ".join(map(str, sides))
            times = min(sides).bit_length() - 1
            raise misfit(
                f"{where}.channels must halve images of {size} pixels at most {times} times", len(model.channels)
            )

    def _fit_pictures(self, where: str, model: HuggingFaceModel | TextCnn | BagOfNgrams) -> None:
        """Of what is no text, Hugging Face has models of pictures."""
        is_shown = isinstance(self.data, TorchData) or len(self.data.sides or ()) == 2
        if not isinstance(model, HuggingFaceModel):
            raise misfit(f"{where}.kind must not be {model.kind} for {self.data.kind}, which is no text", model.kind)
        if not is_shown:
            raise misfit(
                f"{where}.kind must not be huggingface for {self.data.kind}, no text and no picture", model.name
            )
        for setting in ("pooling", "dropout"):
            if getattr(model, setting) is not None:
                raise misfit(f"{where}.{setting} must be left out for pictures", getattr(model, setting))

    @property
    def distill(self) -> Distill | None:
        """The first step, where it makes a student; else the steps make the teacher itself smaller."""
        first = self.steps[0]
        return first if isinstance(first, Distill) else None

    @property
    def teachings(self) -> dict[str, Teaching]:
        """What each training learns from the teacher, by where the recipe says it: `distill`, `prune.recovery`, ..."""
        first = self.distill or Teaching()
        recoveries = {where: each for where, each in self._trainings() if isinstance(each, Recovery)}
        return {"distill": first} | {where: each.teaching(first) for where, each in recoveries.items()}

    @property
    def has_students(self) -> bool:
        """Whether anything learns from the teacher; else it is taken as it is."""
        return any(where != "teacher.training" for where, _ in self._trainings())

    @property
    def precision_of_answers(self) -> SetPrecision:
        """What the teacher answers in: what all that learn from it name, fp32 where one of them does."""
        named = {each.precision for where, each in self._trainings() if where != "teacher.training"}
        return "fp32" if "fp32" in named else "auto" if "auto" in named else "bf16"

    def _models(self) -> list[tuple[str, Model | Student]]:
        models: list[tuple[str, Model | Student]] = []
        if self.teacher.model is not None:
            models.append(("teacher.model", self.teacher.model))
        if self.distill is not None:
            models.append(("distill.student", self.distill.student))
        return models

    def _trainings(self) -> list[tuple[str, Training]]:
        trainings: list[tuple[str, Training]] = [
            ("prune.recovery", step.recovery) for step in self.steps if isinstance(step, Prune)
        ]
        trainings += [
            ("sparsify.recovery", step.recovery)
            for step in self.steps
            if isinstance(step, Sparsify) and step.recovery is not None
        ]
        trainings += [
            ("quantize.training", step.training)
            for step in self.steps
            if isinstance(step, Quantize) and step.training is not None
        ]
        if self.distill is not None:
            trainings.insert(0, ("distill.training", self.distill.training))
        if self.teacher.training is not None:
            trainings.insert(0, ("teacher.training", self.teacher.training))
        return trainings


def load(path: Path) -> Recipe:
    """Read the recipe in the YAML file `path`.

    Raises:
        RecipeError: it cannot be read, or settings break their rules; the message names all that were found.
    """
    return parse(read(path))


def read(path: Path) -> dict[str, Any]:
    """The settings in the YAML file `path`, as they stand.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} must hold settings such as 'name: signals', got {type(raw).__name__}")
    return raw


def parse(raw: dict[str, Any]) -> Recipe:
    """Check the settings `raw`.

    Raises:
        RecipeError: settings break their rules; the message names all that were found, one a line.
    """
    return wording.checked(Recipe, raw)


def kind_of_data(raw: dict[str, Any]) -> Any:
    """What the settings `raw` say that their data are: `pairs` and `interactions` have recipes of their own."""
    data = raw.get("data")
    return data.get("kind") if isinstance(data, dict) else None
