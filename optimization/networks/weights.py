"""Reads weights into a model, from safetensors or from a torch file that holds tensors alone; nothing is unpickled."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from optimization.errors import RecipeError


def load(model: nn.Module, path: str) -> None:
    """Read the state dict in the file `path` into `model`; the prefix `module.` of DataParallel is taken off.

    Raises:
        RecipeError: the file is missing or no state dict, or its tensors are not the model's.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in read(Path(path)).items()}
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)  # older files lack this count, which nothing reads
        if name not in state:
            raise RecipeError(f"weights {path} lack {name!r}, which the model has")
        if state[name].shape != tensor.shape:
            expected_shape, got = list(tensor.shape), list(state[name].shape)
            raise RecipeError(f"weights {path}: {name!r} must have shape {expected_shape}, got {got}")
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise RecipeError(f"weights {path} have {unknown[0]!r}, which the model lacks")
    model.load_state_dict(state)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of the file `path`, by name.

    Raises:
        RecipeError: the file is missing, or no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"weights {path} must be .safetensors or a torch file of tensors alone: {reason}") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RecipeError(f"weights {path} must hold a state dict, got {type(found).__name__}")
    return dict(state)
