"""Residual networks for small pictures, 6 n + 2 layers deep (He 2015, arXiv:1512.03385, section 4.2).

Parameters are named as in https://github.com/akamaster/pytorch_resnet_cifar10, whose published weights load unchanged.
"""

import torch.nn.functional as F  # noqa: N812  # its name in every torch program
from torch import Tensor, nn


class Resnet(nn.Module):
    """Pictures of shape [batch, channels, height, width] in, logits out."""

    def __init__(self, depth: int, width: int, channels: int, num_outputs: int) -> None:
        super().__init__()
        num_blocks = (depth - 2) // 6
        self.conv1 = _conv(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, num_blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, num_blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, num_blocks, stride=2)
        self.linear = nn.Linear(4 * width, num_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of shape [batch, outputs]."""
        features = F.relu(self.bn1(self.conv1(pictures)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inner, outer, stride)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = _conv(outer, outer)
        self.bn2 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Identity() if stride == 1 and inner == outer else Padding(stride, outer - inner)

    def forward(self, features: Tensor) -> Tensor:
        """Features plus what the convolutions add."""
        added = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        return F.relu(added + self.shortcut(features))


class Padding(nn.Module):
    """A shortcut that subsamples, and pads channels with zeros on both sides; pruning makes it a convolution."""

    def __init__(self, stride: int, missing: int) -> None:
        super().__init__()
        self.stride = stride
        self.missing = missing

    def forward(self, features: Tensor) -> Tensor:
        """Features with `missing` more channels."""
        before = self.missing // 2
        return F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))


def _stage(inner: int, outer: int, num_blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(inner, outer, stride), *(Block(outer, outer, 1) for _ in range(num_blocks - 1)))


def _conv(inner: int, outer: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, kernel_size=3, stride=stride, padding=1, bias=False)
