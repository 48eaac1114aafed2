"""A recipe followed as in a run, but that nothing is made: what each part would take, and what is used again.

teach, shrink ─▶ Outline (a workspace that notes) ─▶ parts
                    └─ Foreseen (a trainer that trains nothing) ─▶ the store: known? ─▶ used again
                                                                     └▶ else a few steps are tried
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.findings import PrecisionChoice
from optimization.errors import IdentityError
from optimization.graphs import export
from optimization.measuring import latency
from optimization.pruning import depth, scores
from optimization.pruning.scores import Saliency
from optimization.readers.examples import Dataset, Stream
from optimization.recipe.methods import Prune, Quantize, SetPrecision
from optimization.report.phases import Advance
from optimization.running.probe import ServedTime, StepTime
from optimization.running.workspace import Workspace
from optimization.training import batches, identity
from optimization.training.checkpoint_store import CheckpointStore, Trained
from optimization.training.job import Job

_RANGING = 3
"""Times as long a call takes while ranges are found, for which every tensor is put out."""
_WAYS = 3
"""Ways of holding 8-bit weights, of which each is written and tried on a few batches."""


class Times(Protocol):
    """What parts of a run take; `probe` finds it by trying."""

    def start_s(self) -> float:
        """What it takes until the workers take their first job."""
        ...

    def step(self, job: Job) -> StepTime:
        """What the job's training takes."""
        ...

    def answer_s(self, teacher: nn.Module, wanted: SetPrecision) -> float:
        """What the teacher takes for its answer to one example."""
        ...

    def served(self, model: nn.Module) -> ServedTime:
        """What the model takes as an ONNX file."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a run."""

    name: str
    seconds: float
    num_epochs: int = 0
    """Of a training."""
    is_known: bool = False
    """Whether it was done before, and is used again."""


class Foreseen:
    """A trainer that trains nothing: of what the store does not have, a little is tried.

    `more` is what a training hangs on beside its job. Once something is new, so is all that is made of it.
    """

    def __init__(
        self, dataset: Dataset, times: Times, store: CheckpointStore | None, more: Mapping[str, str | int]
    ) -> None:
        self.parts: list[Part] = []
        self.needs_workers = False
        """Whether anything is left to train or to ask."""
        self._dataset = dataset
        self._times = times
        self._store = store if store is not None and store.has_trained else None
        self._more = more
        self._data: str | None = None
        self._saliency: Saliency | None = None
        self._choice: PrecisionChoice | None = None

    def train(self, job: Job, advance: Advance) -> nn.Module:  # noqa: ARG002  # a trainer's
        """The job's model as it was trained before, else as it is; its part is noted."""
        known = self._known(job)
        if known is not None:
            job.model.load_state_dict(known.weights)
            self._saliency = known.saliency
            self._choice = None if known.choice is None else PrecisionChoice.model_validate(known.choice)
            self.parts.append(Part(name=job.step, seconds=0.0, num_epochs=job.training.epochs, is_known=True))
            return job.model.eval()
        self.needs_workers = True
        tried, soft = replace(job, model=copy.deepcopy(job.model), stream=None), job.soft
        if soft is not None and soft.logits is None and soft.teacher is None:  # its answers come in the stream
            zeros = np.zeros((len(self._dataset.train), self._dataset.num_outputs), np.float32)
            tried = replace(tried, soft=replace(soft, logits=zeros))
        found = self._times.step(tried)
        self._saliency = None if job.score is None else scores.magnitude(job.model)
        self._choice = found.choice
        num_steps = batches.num_steps(job, self._dataset.train)
        seconds = num_steps * found.step_s + job.training.epochs * found.epoch_s
        self.parts.append(Part(name=job.step, seconds=seconds, num_epochs=job.training.epochs))
        return job.model.eval()

    def answer(self, model: nn.Module, precision: SetPrecision) -> NDArray[np.float32]:
        """The answers the store has, else zeros, which take as long to learn; the part is noted."""
        self._choice = None
        if self._store is not None:
            parts = identity.of_answers(model, self._dataset.train, {"precision": precision, **self._more})
            path = self._store.known_answers(parts)
            if path is not None:
                self.parts.append(Part(name="answers", seconds=0.0, is_known=True))
                return np.asarray(np.load(path, allow_pickle=False), np.float32)
            self._store = None
        self.needs_workers = True
        self._note_answers(model, precision, len(self._dataset.train))
        with torch.inference_mode():
            width = model(*export.example(self._dataset.train, 1)).shape[1]
        return np.zeros((len(self._dataset.train), width), np.float32)

    def answer_stream(self, model: nn.Module, precision: SetPrecision, stream: Stream) -> None:
        """Note what a stream of answers takes."""
        self._store = None
        self._note_answers(model, precision, len(stream))

    def choice(self) -> PrecisionChoice | None:
        """The precision that was found for what was asked last."""
        return self._choice

    def saliency(self) -> Saliency | None:
        """Scores of the job asked last, else magnitudes in their place."""
        return self._saliency

    def _note_answers(self, model: nn.Module, precision: SetPrecision, num: int) -> None:
        self.parts.append(Part(name="answers", seconds=num * self._times.answer_s(model, precision)))

    def _known(self, job: Job) -> Trained | None:
        if self._store is None:
            return None
        if self._data is None:
            self._data = identity.of_split(self._dataset.train)
        try:
            found = self._store.known(identity.of_job(job, self._dataset.train, self._data, self._more))
        except IdentityError:
            found = None
        if found is None and job.step != "control":  # of which nothing is made
            self._store = None
        return found


@dataclass(frozen=True, kw_only=True)
class Outline(Workspace):
    """A workspace in which nothing is made: it notes what each part would take."""

    trainer: Foreseen
    times: Times
    served: list[ServedTime] = field(default_factory=list)
    """Of the models that would be exported, in their order."""

    def keep(self, step: str, model: nn.Module) -> None:
        """Note what it takes to export the model, and to compare the file with it."""
        self.served.append(self.times.served(model))
        compared_s = 2 * min(len(self.dataset.validation), export.PARITY_SAMPLES) * self.served[-1].example_s
        self._note(f"{step}: export", self.served[-1].export_s + compared_s)

    def quantize(self, step: Quantize) -> None:
        """Note what ranges and ways of holding weights take, and finding what must stay in fp32, if anything must."""
        served = self.served[-1]
        self.served.append(served)
        if step.method == "fp16":
            self._note("halve", served.write_s)
            return
        tried_s = served.write_s + step.calibration_samples * served.example_s
        self._note("calibrate", (1 + _WAYS) * tried_s + _RANGING * step.calibration_samples * served.example_s)
        if step.publish == "faster":
            timed_s = latency.duration_s([served.call_s] * 2, self.dataset.validation)
            self._note("time INT8 and fp32", timed_s)
        if step.max_changed < 1:
            num_halvings = served.num_weights.bit_length()
            self._note("find what stays in fp32, if anything must,", (served.num_weights + num_halvings) * tried_s)

    def time_layers(self, step: Prune, model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, float]:
        """Note what it takes to time the layers of stacks that compete: models of few layers, each with more of one."""
        removable = depth.competing(step, model, example)
        if not removable:
            return {}
        num, served = 1 + len(removable), self.times.served(model)
        timed_s = latency.duration_s([served.call_s] * num, self.dataset.train)
        self._note("time layers", num * (served.export_s + served.write_s) + timed_s)
        return dict.fromkeys(removable, 1.0)

    def answer_stream(self, asked: nn.Module, stream: Stream) -> Stream:
        """Note what the teacher's answers take, which would lie beside the examples."""
        self.trainer.answer_stream(asked, self.recipe.precision_of_answers, stream)
        return stream

    @property
    def parts(self) -> list[Part]:
        """What was noted so far."""
        return self.trainer.parts

    def _note(self, name: str, seconds: float) -> None:
        self.parts.append(Part(name=name, seconds=seconds))
