"""Unstructured pruning: small weights become zero, the model keeps its shape.

ONNX Runtime multiplies by zeros as by any number: this shrinks the compressed file, and nothing else.
"""

import copy

import torch
from torch import nn


def sparsify(model: nn.Module, threshold: float) -> nn.Module:
    """Return a copy of `model` whose weights of a magnitude below `threshold` are zero; biases stay."""
    sparse = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in sparse.parameters():
            if parameter.dim() > 1:
                parameter[parameter.abs() < threshold] = 0
    return sparse
