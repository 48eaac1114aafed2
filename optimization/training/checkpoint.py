"""What training needs to go on after an epoch: weights, optimizer, schedule, scores. Tensors; nothing is unpickled.

Chance needs no place in it: order, dropout and augmentation are seeded anew in each epoch.
"""

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from optimization.artifact.findings import PrecisionChoice
from optimization.pruning.scores import Gradients

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_FROM_WHOLE = StateDictOptions(full_state_dict=True)
_OPTIMIZER_FROM_WHOLE = StateDictOptions(full_state_dict=True, strict=False)
"""A parameter that no output depends on has never been stepped, and has no state."""


def weights(model: nn.Module) -> dict[str, Any]:
    """All weights on the CPU, whether the model is whole, replicated or sharded.

    Every worker must call it; where the model is sharded, the first alone gets them.
    """
    return get_model_state_dict(model, options=_WHOLE)


def pack(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    losses: list[float],
    gradients: Gradients | None = None,
    choice: PrecisionChoice | None = None,
) -> bytes:
    """The state after as many epochs as there are losses; every worker must call it."""
    state = {
        "losses": losses,
        "model": weights(model),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=_WHOLE),
        "schedule": schedule.state_dict(),
        "gradients": gradients.state() if gradients is not None else None,
        "choice": choice.model_dump() if choice is not None else None,
    }
    return packed(state)


def unpack(
    saved: bytes,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    gradients: Gradients | None = None,
) -> tuple[list[float], PrecisionChoice | None]:
    """Restore the state; return the losses of the epochs that are done, and the precision they were trained in."""
    state = unpacked(saved)
    set_model_state_dict(model, state["model"], options=_FROM_WHOLE)
    set_optimizer_state_dict(model, optimizer, state["optimizer"], options=_OPTIMIZER_FROM_WHOLE)
    schedule.load_state_dict(state["schedule"])
    if gradients is not None:
        gradients.restore(state["gradients"])
    choice = state["choice"]
    return list(state["losses"]), None if choice is None else PrecisionChoice.model_validate(choice)


def packed(state: dict[str, Any]) -> bytes:
    """Tensors and plain values as bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpacked(saved: bytes) -> dict[str, Any]:
    """What `packed` was given, on the CPU."""
    state: dict[str, Any] = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    return state


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
