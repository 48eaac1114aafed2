"""What the rest of the house asks of a task; nothing outside `tasks` knows how a task's answers are made or judged.

    logits ─▶ hard_loss, soft_loss ─▶ training
    model ─▶ served ─▶ ONNX file ─▶ outputs ─▶ read ─▶ answers ─▶ right (quality) │ changed, divergence (INT8)

A new task is one file here, a name in `manifest.TaskKind`, and a line where its data are read.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.artifact.manifest import Meaning, TaskKind

UNLABELLED = -1
"""Stands for the class of an example that only the teacher answers."""

SoftLoss = Literal["kl", "mse"]


class Task(Protocol):
    """How models of a task learn, and how their answers are judged."""

    @property
    def kind(self) -> TaskKind:
        """What the manifest calls it."""
        ...

    @property
    def output(self) -> Meaning:
        """What the first output of the file that is served is."""
        ...

    def hard_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of what the labels say, of shape [batch]; 0 where there is no label."""
        ...

    def soft_loss(self, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, kind: SoftLoss) -> Tensor:
        """Loss of what the teacher's logits say, of shape [batch]."""
        ...

    def served(self, model: nn.Module) -> nn.Module:
        """The model of logits in the form that is exported."""
        ...

    def read(self, outputs: NDArray[np.float32], output: Meaning) -> NDArray[np.float32]:
        """The first output of a file, brought to what the methods below take.

        Raises:
            GraphError: the task does not know such an output.
        """
        ...

    def right(self, answers: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Which answers are right, of shape [samples]."""
        ...

    def changed(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which samples get another answer, of shape [samples]; both were read."""
        ...

    def divergence(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far the other lies from the one, of shape [samples], at least 0; both were read."""
        ...


class LabelledTask(Task, Protocol):
    """A task whose models answer each sample at once, with something that a label can be compared with."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Measures of quality that fit it, the usual one first (`measuring/measures.py`)."""
        ...

    @property
    def is_by_token(self) -> bool:
        """Whether logits are of shape [batch, tokens, outputs], else [batch, outputs]."""
        ...

    def named(self, names: Sequence[str]) -> Self:
        """The task of labels that tell apart what is called so."""
        ...

    def names(self, values: Sequence[object]) -> tuple[str, ...]:
        """What the labels of training examples tell apart: names of classes; nothing where they are numbers."""
        ...

    def encode(self, values: Sequence[object], names: Sequence[str]) -> NDArray[Any]:
        """Labels as models learn them, the first dimension counting the samples.

        Raises:
            DataError: a label is none that the task knows.
        """
        ...

    def num_outputs(self, num_labels: int) -> int:
        """Logits per sample."""
        ...

    def output_name(self, num_outputs: int) -> str:
        """Name of the served file's output."""
        ...

    def answers(self, read: NDArray[np.float32]) -> NDArray[Any]:
        """What is answered, of the labels' shape."""
        ...

    def scores(self, read: NDArray[np.float32]) -> NDArray[np.float32]:
        """How sure the model is, for measures of order."""
        ...

    def compared(self, labels: NDArray[Any], found: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and answers or scores, as measures take them."""
        ...

    def ideal(self, labels: NDArray[Any], num_outputs: int) -> NDArray[np.float32]:
        """What a model that is always right gives, once read."""
        ...

    def confused(self, labels: NDArray[Any], answers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Class and answered class of all that has one; nothing where a task knows no classes."""
        ...
