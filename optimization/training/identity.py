"""What a training depends on, as digests: the model it starts from, its examples, its settings, its teacher, the code.

    model ─▶ traced: every operation and its constants ┐
             state: every weight and buffer            ┴▶ digest

Two models of one digest compute the same, whatever their classes are called: what a forward pass reads from attributes
(a number of heads, a way of pooling, the share that is dropped) stands in the trace, edited code changes it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optimization.distillation.targets import SoftTargets
from optimization.errors import IdentityError
from optimization.identity import code
from optimization.readers.examples import Split, Stream
from optimization.training.job import Job

Parts = dict[str, str | int | float | bool | None]
"""What something depends on, by name; what is large stands there as its digest."""

_LIBRARIES = ("torch", "numpy", "transformers")
"""Whose code computes in training and in the teacher's answers."""
_TRACED = 2
"""Examples that a model is traced with."""


def of_model(model: nn.Module, split: Split, *, training: bool = False) -> str:
    """Digest of what `model` computes on inputs like those of `split`, in training or not.

    Raises:
        IdentityError: the model cannot be traced.
    """
    example = tuple(torch.from_numpy(each) for each in split.batch(np.arange(min(_TRACED, len(split)))).values())
    modes = [(module, module.training) for module in model.modules()]
    device = next((weights.device for weights in model.parameters()), torch.device("cpu"))
    try:
        traced = torch.export.export(model.train(training), tuple(each.to(device) for each in example))
    except Exception as error:  # code of the user's is run, which may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise IdentityError(f"the model must be traceable to be recognised, got {reason}") from error
    finally:
        for module, mode in modes:
            module.training = mode
    hashed = hashlib.sha256(str(traced.graph).encode())
    learned = {name: weights.requires_grad for name, weights in model.named_parameters()}
    hashed.update(json.dumps(learned).encode())
    constants = {f"constant {name}": each for name, each in traced.constants.items() if isinstance(each, Tensor)}
    for name, tensor in (model.state_dict() | dict(model.named_buffers()) | constants).items():
        _add(hashed, name, tensor.detach().cpu())
    return hashed.hexdigest()


def of_split(split: Split) -> str:
    """Digest of the examples as a model gets them, and of their labels, in their order."""
    hashed = hashlib.sha256(repr(sorted(split.pixels)).encode())
    arrays = {"labels": split.labels, "lengths": split.lengths, "numbers": split.numbers}
    for name, values in (split.inputs | arrays).items():
        if values is not None:
            _add(hashed, name, values)
    return hashed.hexdigest()


def of_job(job: Job, split: Split, data: str, more: Mapping[str, str | int]) -> Parts:
    """All that the weights hang on which the job's training ends in.

    `data` is the digest of `split`, the training examples; `more` is what the job does not know.

    Raises:
        IdentityError: a model cannot be traced.
    """
    return {
        "data": data if job.stream is None else _of_stream(job.stream),
        "start": of_model(job.model, split, training=True),
        "seed": job.seed,
        "first epoch": job.first_epoch,
        "repeats labelled": job.repeats_labelled,
        **{name: value for name, value in job.training.model_dump(mode="json").items() if not _is_teaching(name)},
        **_of_soft(job.soft, split),
        "task": repr(job.task),
        "score": job.score,
        "zeros": job.holds_zeros,
        "augmentation": repr(job.augmentation),
        **environment(),
        **more,
    }


def of_answers(teacher: nn.Module, split: Split, more: Mapping[str, str | int]) -> Parts:
    """All that a teacher's answers to the inputs of `split` hang on; labels do not count.

    Raises:
        IdentityError: the teacher cannot be traced.
    """
    hashed = hashlib.sha256(repr(sorted(split.pixels)).encode())
    for name, values in split.inputs.items():
        _add(hashed, name, values)
    return {"teacher": of_model(teacher, split), "data": hashed.hexdigest(), **environment(), **more}


def environment() -> Parts:
    """The code that computes, and the libraries it computes with."""
    return {"code": code.own(), **{name: code.release(name) for name in _LIBRARIES}}


def _of_soft(soft: SoftTargets | None, split: Split) -> Parts:
    if soft is None:
        return {"teacher": None}
    hashed = hashlib.sha256()
    for name, values in (("logits", soft.logits), ("pooled", soft.pooled)):
        if values is not None:
            _add(hashed, name, values)
    if soft.teacher is not None:
        hashed.update(of_model(soft.teacher, split).encode())
    return {
        "teacher": hashed.hexdigest(),
        "temperature": soft.temperature,
        "alpha": soft.alpha,
        "soft_loss": soft.soft_loss,
        "transfer": repr(soft.state_pairs),
    }


def _is_teaching(name: str) -> bool:
    """Whether a recovery's setting is one that its soft targets hold already, with what was left out filled in."""
    return name in ("temperature", "alpha", "soft_loss", "transfer")


def _of_stream(stream: Stream) -> str:
    """Its folder is called after what it was prepared from, or after the teacher that answered it."""
    return f"{stream.folder.parent.name}/{stream.folder.name}"


def _add(hashed: Any, name: str, values: NDArray[Any] | Tensor) -> None:
    """Add an array by name, type, shape and bytes; numpy knows no bf16, so tensors are read as bytes."""
    hashed.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
    if isinstance(values, Tensor):
        values = values.contiguous().reshape(-1).view(torch.uint8).numpy()
    hashed.update(np.ascontiguousarray(values).data)
