"""Exports one step of an encoder-decoder as one ONNX file, and checks that both compute the same."""

import logging
import warnings
from pathlib import Path

import numpy as np
import torch

from optimization.errors import ExportError
from optimization.graphs import graph, simplify, torch_private
from optimization.graphs.export import TOLERANCE, tensors
from optimization.readers.examples import Split
from optimization.sequences.models import Seq2Seq, Step

INPUTS = ("input_ids", "attention_mask", "written")
OUTPUTS = ("logits", "token", "sequence")
_PARITY_SAMPLES = 128
_SHAPES = ((1, 1, 0), (3, 5, 1), (5, 9, 7))
"""Of random batches: samples, tokens read, tokens written."""


def export(model: Seq2Seq, path: Path) -> None:
    """Write one step of `model` to `path`; it may have read and written texts of any length."""
    step = Step(model).eval()
    batch, read, written = (torch.export.Dim(name) for name in ("batch", "read", "written"))
    example = tuple(torch.ones((2, length), dtype=torch.int64) for length in (7, 7, 4))
    torch_private.read_operators_once()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), simplify.plain_attention(step):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step,
            example,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: batch, 1: read}, {0: batch, 1: read}, {0: batch, 1: written}),
            dynamo=True,
            opset_version=simplify.OPSET,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    simplify.simplify(path)


def parity(model: Seq2Seq, path: Path, split: Split, seed: int) -> float:
    """Largest difference of logits between the torch model and the ONNX file, on `split` and on random tokens.

    Raises:
        ExportError: it is larger than export's tolerance.
    """
    step, session, worst = Step(model).eval(), graph.session(path), 0.0
    random = np.random.default_rng(seed)
    real = split.take(random.permutation(len(split))[:_PARITY_SAMPLES])
    batches = [batch for _, batch in real.batches(32)]
    for num_samples, num_read, num_written in _SHAPES:
        made = {"input_ids": random.integers(0, model.body.config.vocab_size, (num_samples, num_read))}
        made["attention_mask"] = np.ones_like(made["input_ids"])
        made["written"] = random.integers(0, model.body.config.vocab_size, (num_samples, num_written))
        batches.append(made)
    for batch in batches:
        with torch.inference_mode():
            expected = step(*tensors(batch))[0].numpy()
        worst = max(worst, float(np.abs(graph.predict(session, batch) - expected).max()))
    if not worst <= TOLERANCE:
        raise ExportError(f"the ONNX model must equal the torch model to {TOLERANCE}, got a difference of {worst}")
    return worst
