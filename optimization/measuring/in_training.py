"""The quality of a model that is still being trained."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optimization.graphs import export
from optimization.measuring.measures import Measure
from optimization.readers.examples import Split, in_order
from optimization.tasks.task import LabelledTask

_AT_ONCE = 256


def of(model: nn.Module, split: Split, task: LabelledTask, measure: Measure) -> float:
    """The measure of a model that gives logits, and goes on being trained afterwards."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    found: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for rows, batch in split.batches(_AT_ONCE):
            logits = model(*(values.to(device) for values in export.tensors(batch))).cpu().numpy()
            found |= dict(zip(rows.tolist(), logits, strict=True))
    model.train(was_training)
    return measure.of(task, task.read(in_order(found), "logits"), split.labels)
