"""Small models of every family that pruning, quantization and export are tested on, with inputs that fit."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

Inputs = tuple[Tensor, ...]


class PadShortcut(nn.Module):
    """He 2015, option A: every second pixel, channels padded with zeros."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        return F.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else PadShortcut((outputs - inputs) // 2)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images))))) + self.shortcut(images))


class ResNet(nn.Module):
    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.stage1 = nn.Sequential(*(BasicBlock(8, 8) for _ in range(blocks)))
        self.stage2 = nn.Sequential(BasicBlock(8, 16), *(BasicBlock(16, 16) for _ in range(blocks - 1)))
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage2(self.stage1(self.stem(images))).mean(dim=(2, 3)))


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        return images * torch.sigmoid(self.up(F.silu(self.down(images.mean(dim=(2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide, self.adds = 4 * inputs, inputs == outputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, 1 if self.adds else 2, 1, groups=wide, bias=False), nn.BatchNorm2d(wide),
            nn.ReLU6(), SqueezeExcite(wide), nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return images + self.layers(images) if self.adds else self.layers(images)


class Concatenating(nn.Module):
    """As in DenseNet: a layer reads the outputs of two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.both, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8 * 4 * 4, 5)

    def forward(self, images: Tensor) -> Tensor:
        one = F.relu(self.one(images))
        both = F.gelu(self.both(torch.cat([one, F.relu(self.other(one))], dim=1)))
        return self.head(F.adaptive_avg_pool2d(both, 4).flatten(1))


class Encoder(nn.Module):
    """torch's own transformer over tokens, mean-pooled."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
        self.embedding = nn.Embedding(50, 32)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self.encoder(self.embedding(ids), src_key_padding_mask=mask == 0)
        return self.head((hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))


class Logits(nn.Module):
    """A Hugging Face classifier, called by position."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.model(input_ids=ids, attention_mask=mask).logits


def bert(attention: str = "sdpa") -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, num_labels=5
    )
    config._attn_implementation = attention
    return Logits(BertForSequenceClassification(config))


def distilbert() -> nn.Module:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(vocab_size=50, dim=32, n_layers=3, n_heads=4, hidden_dim=64, num_labels=5)
    return Logits(DistilBertForSequenceClassification(config))


def images() -> Inputs:
    return (torch.rand(6, 3, 16, 16),)


def tokens() -> Inputs:
    lengths = torch.tensor([9, 7, 3, 1])
    mask = (torch.arange(9) < lengths[:, None]).long()
    return torch.randint(1, 50, (4, 9)) * mask, mask


FAMILIES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 24), nn.Sigmoid(), nn.Linear(24, 5)),
        lambda: (torch.randn(6, 8),),
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.Flatten(), nn.Linear(96, 5)
        ),
        lambda: (torch.randn(6, 1, 16),),
    ),
    "resnet": (ResNet, images),
    "mobile": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), InvertedResidual(8, 8), InvertedResidual(8, 16),
            InvertedResidual(16, 16), InvertedResidual(16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(16, 5),
        ),
        images,
    ),
    "dense": (Concatenating, images),
    "encoder": (lambda: Encoder(norm_first=False), tokens),
    "encoder, norm first": (lambda: Encoder(norm_first=True), tokens),
    "bert": (bert, tokens),
    "bert, eager": (lambda: bert("eager"), tokens),
    "distilbert": (distilbert, tokens),
}  # fmt: skip
"""Builder of a model, and of inputs to it, by name."""

HUGGING_FACE = ("bert", "bert, eager", "distilbert")


class Served(nn.Module):
    """Probabilities, as a model is exported."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.softmax(self.model(*inputs), dim=1)


def export(model: nn.Module, example: Inputs, path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The model as an ONNX file, and the example by the names of its inputs."""
    names = ["ids", "mask"] if len(example) == 2 else ["x"]
    axes = {0: torch.export.Dim("batch")} | ({1: torch.export.Dim("sequence")} if len(example) == 2 else {})
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Served(model).eval(), example, input_names=names, output_names=["probabilities"], verbose=False,
            dynamic_shapes=(tuple(axes for _ in example),), dynamo=True, opset_version=20,
        )  # fmt: skip
    program.save(str(path), external_data=False)
    return path, dict(zip(names, (each.numpy() for each in example), strict=True))


def build(family: str, seed: int = 0) -> tuple[nn.Module, Inputs]:
    """A model in evaluation mode, normalization statistics as if trained, and inputs to it."""
    model_of, inputs_of = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_of()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.running_mean, -1, 1), (module.running_var, 0.5, 2),
                    (module.weight.data, 0.5, 1.5), (module.bias.data, -1, 1),
                ):  # fmt: skip
                    tensor.uniform_(low, high)
        return model.eval(), inputs_of()
