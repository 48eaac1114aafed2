"""The student that a recipe begins with where nobody has said another: some of the teacher's layers, spread evenly."""

import numpy as np
from torch import nn

KEPT_LAYERS = 0.5
"""Share of the layers."""
FEED_FORWARD = 0.75
"""Share of the units of each feed-forward network."""


def num_layers(model: nn.Module) -> int:
    """Layers in the model's longest stack; 0 where it has none."""
    return max((len(each) for each in model.modules() if isinstance(each, nn.ModuleList)), default=0)


def spread(num: int) -> tuple[int, ...]:
    """The layers to keep of `num`: the first, the last, and what lies evenly between them."""
    kept = max(1, round(num * KEPT_LAYERS))
    return tuple(int(place) for place in np.linspace(0, num - 1, kept).round())
