"""The accuracy of a model that is still being trained."""

import torch
from torch import nn

from optimization.graphs import export
from optimization.readers.examples import Split
from optimization.tasks.task import LabelledTask

_AT_ONCE = 256


def of(model: nn.Module, split: Split, task: LabelledTask) -> float:
    """Fraction of right answers of a model that gives logits, and goes on being trained afterwards."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    num_right = 0
    with torch.inference_mode():
        for rows, batch in split.batches(_AT_ONCE):
            logits = model(*(values.to(device) for values in export.tensors(batch))).cpu().numpy()
            answers = task.answers(task.read(logits, "logits"))
            num_right += int(task.right(answers, split.labels[rows]).sum())
    model.train(was_training)
    return num_right / len(split)
