"""A model among the workers of one training: a copy for each (DDP), or its weights in parts (FSDP2)."""

import copy
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel


def share(model: nn.Module, example: tuple[Tensor, ...] | None, *, sharded: bool, device: torch.device) -> nn.Module:
    """The model, whose gradients are from now on the mean over all workers.

    Every worker must call it. A forward pass over the `example` tells whether there are parameters that no output
    depends on, which DDP would wait for; without an example, DDP looks for them in every step.
    """
    if device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    if not sharded:
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=example is None or bool(unused(model, example)),
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for layer in module:
                fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def unshared(model: nn.Module) -> Any:
    """A context in which gradients stay with this worker."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def unused(model: nn.Module, example: tuple[Tensor, ...]) -> list[str]:
    """Names of the parameters that the logits and states for `example` do not depend on."""
    tried = copy.deepcopy(model).eval()  # a copy: what rounds learns its ranges from all it sees
    named = [(name, each) for name, each in tried.named_parameters() if each.requires_grad]
    with torch.enable_grad():
        logits, states = tried(*example)
        total = sum((each.float().sum() for each in states), logits.float().sum())
    found = torch.autograd.grad(total, [each for _, each in named], allow_unused=True)
    return [name for (name, _), gradient in zip(named, found, strict=True) if gradient is None]


def normalizes_by_batch(model: nn.Module) -> bool:
    """Whether the model has BatchNorm, whose outputs depend on the other examples of a worker's batch."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())
