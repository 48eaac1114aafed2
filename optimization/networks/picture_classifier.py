"""A classifier of pictures of Hugging Face: ResNet, MobileNet, ViT, Swin, ConvNeXt and whatever it knows."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from optimization.extras import require
from optimization.networks import own_head
from optimization.recipe.architectures import HuggingFaceModel
from optimization.tasks.task import LabelledTask


class PictureClassifier(nn.Module):
    """Pictures of shape [batch, channels, height, width] in; logits out."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits of shape [batch, outputs]."""
        logits: Tensor = self.body(pixel_values=pictures).logits
        return logits


def build(config: HuggingFaceModel, task: LabelledTask, classes: Sequence[str], num_outputs: int) -> PictureClassifier:
    """The classifier with its published weights or at random, and its own head or a fresh one of its kind.

    Raises:
        RecipeError: there is no such model, it is none of pictures, its configuration does not know a setting, or its
            own classifier has other classes or outputs than those, or lacks weights.
    """
    transformers = require("transformers", extra="hf")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    described, own = own_head.describe(config), own_head.find(config, task, "pictures")
    kind = transformers.AutoModelForImageClassification
    try:
        if own is not None:
            own_head.expect(config, own, classes, num_outputs)
            return PictureClassifier(own_head.whole(kind, config, described))
        described.num_labels = num_outputs
        code = {"trust_remote_code": config.code is not None}
        if not config.pretrained:
            return PictureClassifier(kind.from_config(described, **code))
        found = kind.from_pretrained(config.name, config=described, ignore_mismatched_sizes=True, **code)
        return PictureClassifier(found.float())
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise own_head.missing(config, error) from error
