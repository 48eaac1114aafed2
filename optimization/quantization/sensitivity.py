"""Which nodes cost quality in INT8, and which of them must stay in fp32 to keep within a budget.

All nodes go to INT8 first. Where that changes too many answers, each node is tried alone, and the worst go back to
fp32, as few as will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from optimization.artifact.manifest import Meaning
from optimization.errors import GraphError
from optimization.graphs import graph
from optimization.quantization.quantize import Batch, Prepared, write
from optimization.readers.examples import joined
from optimization.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An INT8 model and what it took."""

    changed: float
    """Fraction of the examples that get another answer than in fp32."""
    kept: tuple[str, ...] = ()
    """Nodes that stayed in fp32."""
    costs: dict[str, "Cost"]
    """What each node alone costs; empty where none was tried."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What changes with one node alone in INT8."""

    weight: str
    """The weight that the node reads."""
    divergence: float
    """Mean divergence of the answers from those in fp32, as the task has it."""
    changed: float
    """Fraction of the examples that get another answer."""


def within(
    prepared: Prepared, target: Path, batches: Sequence[Batch], max_changed: float, *, task: Task, output: Meaning
) -> Outcome:
    """Write to `target` the INT8 model that changes the answers to at most `max_changed` of the examples.

    `output` is what the model's first output is, which the task reads.

    Raises:
        GraphError: no such model has a node left in INT8.
    """

    def changed_by(path: Path) -> float:
        return float(task.changed(fp32, task.read(predict(path, batches), output)).mean())

    fp32 = task.read(predict(prepared.path, batches), output)
    write(prepared, target)
    changed = changed_by(target)
    if changed <= max_changed:
        return Outcome(changed=changed, costs={})
    costs = scan(prepared, batches, task=task, output=output)
    worst = sorted(costs, key=lambda node: costs[node].divergence, reverse=True)
    least, most, best = 1, len(worst) - 1, None
    while least <= most:  # halve the interval: fewer nodes in fp32 change more
        num_kept = (least + most) // 2
        write(prepared, target, keep=worst[:num_kept])
        changed = changed_by(target)
        if changed <= max_changed:
            best, most = Outcome(changed=changed, kept=tuple(worst[:num_kept]), costs=costs), num_kept - 1
        else:
            least = num_kept + 1
    if best is None:
        raise GraphError(
            f"quantize.max_changed must be at least {changed:.3f} for a single node in INT8, got {max_changed}: "
            "leave quantize out, or train with method: qat"
        )
    write(prepared, target, keep=best.kept)
    return best


def scan(prepared: Prepared, batches: Sequence[Batch], *, task: Task, output: Meaning) -> dict[str, Cost]:
    """What each node with weights costs with only this node in INT8."""
    fp32 = task.read(predict(prepared.path, batches), output)
    costs = {}
    with TemporaryDirectory() as scratch:
        alone = Path(scratch) / "alone.onnx"
        for node, weight in prepared.nodes.items():
            write(prepared, alone, only=[node])
            int8 = task.read(predict(alone, batches), output)
            divergence, changed = task.divergence(fp32, int8).mean(), task.changed(fp32, int8).mean()
            costs[node] = Cost(weight=weight, divergence=float(divergence), changed=float(changed))
    return costs


def predict(path: Path, batches: Sequence[Batch]) -> NDArray[np.float32]:
    """The first output, of shape [samples, outputs], or of each token of a text."""
    session = graph.session(path)
    return joined([np.asarray(session.run(None, dict(batch))[0], np.float32) for batch in batches])
