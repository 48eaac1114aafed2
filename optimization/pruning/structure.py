"""Saves a model that was cut, and brings a fresh one into the same form: weights and structure in one safetensors file.

    cut model ──save──▶ weights.safetensors (its header names what was dropped or replaced) ──load──▶ fresh model, cut

The widths of layers follow from the shapes of their weights; nothing is pickled.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from optimization.errors import WeightsError
from optimization.pruning import heads, shortcuts, stacks

_HEADER = "structure"


class Structure(BaseModel):
    """What about a model does not follow from the shapes of its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: dict[str, tuple[int, ...]] = {}
    """Which of its layers a stack kept, by the stack's name."""
    attentions: tuple[str, ...] = ()
    """Attention modules in the form that can have fewer heads."""
    shortcuts: dict[str, int] = {}
    """Stride of each shortcut that became a convolution."""


def of(model: nn.Module) -> Structure:
    """The structure of `model`."""
    modules = dict(model.named_modules())
    return Structure(
        layers={name: kept for name, each in modules.items() if (kept := stacks.kept(each)) is not None},
        attentions=tuple(name for name, each in modules.items() if isinstance(each, heads.SlimAttention)),
        shortcuts={name: each.stride[0] for name, each in modules.items() if isinstance(each, shortcuts.Shortcut)},
    )


def save(model: nn.Module, path: Path) -> None:
    """Write the weights and the structure of `model` to `path`."""
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(weights, path, metadata={_HEADER: of(model).model_dump_json()})


def load(model: nn.Module, path: Path) -> nn.Module:
    """Bring `model`, as its architecture builds it, into the form saved at `path`, in place, and load the weights.

    Raises:
        WeightsError: the file is damaged, or was saved from another architecture.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER, "{}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        structure = Structure.model_validate_json(header)
    except (OSError, SafetensorError, ValidationError) as error:
        raise WeightsError(f"{path} must hold weights in safetensors form: {error}") from error
    try:
        _restructure(model, structure, weights)
        model.load_state_dict(weights)
    except (AttributeError, KeyError, IndexError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit {type(model).__name__}: {error}") from error
    return model


def refit(model: nn.Module, attentions: Iterable[heads.Attention]) -> None:
    """Bring the sizes that layers keep in line with their weights; `attentions` are as before the weights changed."""
    for module in model.modules():
        _refit(module)
    for each in attentions:
        heads.recount(model, each)


def _restructure(model: nn.Module, structure: Structure, weights: dict[str, Tensor]) -> None:
    for name, indices in structure.layers.items():
        stacks.keep(model, name, indices)
    for name in structure.attentions:
        if not isinstance(model.get_submodule(name), heads.SlimAttention):
            heads.slim(model, name)
    for name, stride in structure.shortcuts.items():
        outputs, inputs = weights[f"{name}.weight"].shape[:2]
        model.set_submodule(name, shortcuts.Shortcut(inputs, outputs, stride))
    attentions = heads.find(model)
    for name, tensor in model.state_dict().items():
        owner, _, own = name.rpartition(".")
        if name in weights and tensor.shape != weights[name].shape:
            _resize(model.get_submodule(owner), own, weights[name])
    refit(model, attentions)


def _resize(module: nn.Module, name: str, like: Tensor) -> None:
    old: Any = getattr(module, name)
    empty = torch.empty_like(like, dtype=old.dtype, device=old.device)
    setattr(module, name, nn.Parameter(empty, old.requires_grad) if isinstance(old, nn.Parameter) else empty)


def _refit(module: nn.Module) -> None:
    match module:
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case _ConvNd() if module.groups == module.in_channels == module.out_channels > 1:
            module.groups = module.in_channels = module.out_channels = module.weight.shape[0]
        case _ConvNd() if not module.transposed:
            module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
        case _BatchNorm() if module.running_mean is not None:
            module.num_features = len(module.running_mean)
        case nn.Embedding():
            module.num_embeddings, module.embedding_dim = module.weight.shape
        case nn.LayerNorm() if module.elementwise_affine:
            module.normalized_shape = tuple(module.weight.shape)
