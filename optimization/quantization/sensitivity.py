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

from optimization.errors import GraphError
from optimization.graphs import graph
from optimization.quantization.quantize import Batch, Prepared, write


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An INT8 model and what it took."""

    changed: float
    """Fraction of the examples that get another class than in fp32."""
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
    """Mean KL divergence of the outputs from those in fp32, in nats."""
    changed: float
    """Fraction of the examples that get another class."""


def within(prepared: Prepared, target: Path, batches: Sequence[Batch], max_changed: float) -> Outcome:
    """Write to `target` the INT8 model that changes the class of at most `max_changed` of the examples.

    Raises:
        GraphError: no such model has a node left in INT8.
    """
    fp32 = predict(prepared.path, batches)
    write(prepared, target)
    changed = _changed(fp32, predict(target, batches))
    if changed <= max_changed:
        return Outcome(changed=changed, costs={})
    costs = scan(prepared, batches)
    worst = sorted(costs, key=lambda node: costs[node].divergence, reverse=True)
    least, most, best = 1, len(worst) - 1, None
    while least <= most:  # halve the interval: fewer nodes in fp32 change more
        num_kept = (least + most) // 2
        write(prepared, target, keep=worst[:num_kept])
        changed = _changed(fp32, predict(target, batches))
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


def scan(prepared: Prepared, batches: Sequence[Batch]) -> dict[str, Cost]:
    """What each node with weights costs with only this node in INT8."""
    fp32 = predict(prepared.path, batches)
    costs = {}
    with TemporaryDirectory() as scratch:
        alone = Path(scratch) / "alone.onnx"
        for node, weight in prepared.nodes.items():
            write(prepared, alone, only=[node])
            int8 = predict(alone, batches)
            costs[node] = Cost(weight=weight, divergence=kl_divergence(fp32, int8), changed=_changed(fp32, int8))
    return costs


def predict(path: Path, batches: Sequence[Batch]) -> NDArray[np.float32]:
    """Probabilities of shape [samples, outputs]."""
    session = graph.session(path)
    return np.concatenate([np.asarray(session.run(None, dict(batch))[0], np.float32) for batch in batches])


def kl_divergence(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean over the samples of KL(one || other), in nats; a single output is the probability of the second class."""
    p, q = (_whole(each).clip(1e-9) for each in (one, other))
    return float((p * np.log(p / q)).sum(axis=1).mean())


def _whole(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    whole = probabilities.astype(np.float64)
    return np.concatenate([1 - whole, whole], axis=1) if whole.shape[1] == 1 else whole


def _changed(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float((_whole(one).argmax(axis=1) != _whole(other).argmax(axis=1)).mean())
