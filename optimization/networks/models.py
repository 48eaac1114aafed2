"""Builds the architectures a recipe names; they take raw inputs, one tensor after the other, and give logits."""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from optimization import extras
from optimization.errors import DataError
from optimization.networks import encoder, picture_classifier, resnet, weights
from optimization.readers.examples import Dataset
from optimization.recipe.architectures import Cnn, HuggingFaceModel, Mlp, Model, Resnet, TorchModel


class Standardize(nn.Module):
    """Bring raw inputs of shape [batch, ...] to a range layers like."""

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs less the offset, divided by the scale."""
        return (inputs - self.offset) / self.scale


def build(config: Model, dataset: Dataset, seed: int) -> nn.Module:
    """The model, with its weights or freshly initialised; equal seeds give equal weights.

    Raises:
        RecipeError: an import path, a package or weights lead nowhere.
        DataError: it does not fit the data.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body: nn.Module
        match config:
            case Mlp():
                body = _mlp(config, dataset)
            case Cnn():
                body = _cnn(config, dataset)
            case Resnet():
                body = resnet.Resnet(config.depth, config.width, _image(config, dataset)[0], dataset.num_outputs)
            case TorchModel():
                body = extras.load(config.name)(**config.kwargs)
            case HuggingFaceModel() if dataset.image is not None:
                body = picture_classifier.build(config, dataset.task, dataset.labels, dataset.num_outputs)
            case HuggingFaceModel():
                body = encoder.build(config, dataset.task, dataset.labels, dataset.num_outputs)
        if config.weights is not None:
            weights.load(body, config.weights)
        model = _standardized(body, dataset)
        check(model, dataset)
    return model


def num_parameters(model: nn.Module) -> int:
    """Trainable weights; zeros count."""
    return sum(parameter.numel() for parameter in model.parameters())


def _standardized(body: nn.Module, dataset: Dataset) -> nn.Module:
    if dataset.offset is None or dataset.scale is None:
        return body
    layers = list(body) if isinstance(body, nn.Sequential) else [body]
    return nn.Sequential(Standardize(torch.tensor(dataset.offset), torch.tensor(dataset.scale)), *layers)


def check(model: nn.Module, dataset: Dataset) -> None:
    """Run the model once, so that what does not fit is told before any training.

    Raises:
        DataError: it does not take the data, or gives something else than their logits.
    """
    batch = [torch.from_numpy(values) for values in dataset.train.batch(torch.arange(2).numpy()).values()]
    try:
        with torch.inference_mode():
            logits = model.eval()(*batch)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = ", ".join(f"{name} {list(values.shape[1:])}" for name, values in dataset.train.inputs.items())
        raise DataError(f"the model must take {shapes}, got: {error}") from error
    tokens = batch[0].shape[1:2] if dataset.task.is_by_token else ()
    wanted = (2, *tokens, dataset.num_outputs)
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        classes = f"{list(wanted)} for the data's {len(dataset.labels)} classes"
        raise DataError(f"the model's logits for two samples must have shape {classes}, got {got}")


def _mlp(config: Mlp, dataset: Dataset) -> nn.Sequential:
    is_flat = next(iter(dataset.train.inputs.values())).ndim == 2
    flatten = [] if is_flat else [nn.Flatten()]
    return nn.Sequential(
        *flatten, *_dense((dataset.num_features, *config.hidden)), nn.Linear(config.hidden[-1], dataset.num_outputs)
    )


def _cnn(config: Cnn, dataset: Dataset) -> nn.Sequential:
    image = _image(config, dataset)
    is_flat = next(iter(dataset.train.inputs.values())).ndim == 2
    blocks = _blocks((image[0], *config.channels), config.kernel, is_signal=len(image) == 2)
    num_features = config.channels[-1] * prod(side >> len(config.channels) for side in image[1:])
    return nn.Sequential(
        *([nn.Unflatten(1, image)] if is_flat else []),
        *blocks,
        nn.Flatten(),
        *_dense((num_features, *config.hidden)),
        nn.Linear(config.hidden[-1], dataset.num_outputs),
    )


def _image(config: Cnn | Resnet, dataset: Dataset) -> tuple[int, ...]:
    if dataset.image is None:
        raise DataError(f"{config.kind} needs images or signals, got samples of {dataset.num_features} numbers")
    return dataset.image


def _blocks(channels: tuple[int, ...], kernel: int, *, is_signal: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(channels):
        if is_signal:
            layers += [nn.Conv1d(inner, outer, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool1d(2)]
        else:
            layers += [nn.Conv2d(inner, outer, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
    return layers


def _dense(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return layers
