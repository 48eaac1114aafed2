"""What does not give what was measured is not published, and the error says which check failed."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optimization.artifact import store
from optimization.artifact.manifest import PicturePreprocessing
from optimization.artifact.store import Artifact
from optimization.errors import VerifyError
from optimization.graphs import export, graph
from optimization.measuring import evaluate
from optimization.networks import models
from optimization.quantization import quantize
from optimization.readers.examples import Dataset, Split
from optimization.recipe.architectures import Cnn
from optimization.running import verify
from optimization.running.verify import Measured


class Made:
    """A small network of pictures, measured, and how to publish it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        pixels = frozenset(["image"])
        labels = np.arange(300) % 3
        pictures = (random.integers(0, 120, (300, 3, 8, 8)) + 60 * labels[:, None, None, None]).astype(np.uint8)
        split = Split(inputs={"image": pictures}, labels=labels, pixels=pixels)
        self.dataset = Dataset(
            train=split, validation=split, held_out=split, labels=("a", "b", "c"), image=(3, 8, 8),
            preprocessing=PicturePreprocessing(height=8, width=8),
        )  # fmt: skip
        self.path = folder / "measured.onnx"
        model = models.build(Cnn(kind="cnn", channels=(4,), hidden=(8,)), self.dataset, seed=0).eval()
        with torch.no_grad():
            model[-1].weight.mul_(50)  # answers that are sure of themselves, as of a trained model
        export.export(model, self.path, split, task=self.dataset.task)
        self.measured = self.of(self.path)

    def of(self, path: Path) -> Measured:
        task, held_out = self.dataset.task, self.dataset.held_out
        return Measured(
            model_sha256=store.sha256(path),
            outputs=evaluate.predict(path, held_out, task, "probabilities"),
            read=lambda found: task.read(found, "probabilities"),
            right=lambda found: task.right(task.answers(found), held_out.labels),
        )

    def publish(self, measured: Measured | None = None, **fields: Any) -> Artifact:
        served = graph.read(self.path)
        known = {
            "name": "pictures",
            "inputs": graph.inputs(served),
            "outputs": graph.outputs(served, "probabilities"),
            "preprocessing": self.dataset.preprocessing,
        }
        check = partial(verify.verify, held_out=self.dataset.held_out, measured=measured or self.measured)
        return store.publish(self.folder, {store.MODEL: self.path}, check=check, **(known | fields))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("verify"))


def test_what_gives_what_was_measured_is_published(made: Made) -> None:
    published = made.publish()
    assert store.versions(made.folder, "pictures")[-1] == int(published.manifest.version)


@pytest.mark.parametrize("case", ["flipped", "preprocessing", "no preprocessing file", "provider", "quality"])
def test_what_does_not_is_never_visible(made: Made, case: str) -> None:
    before = store.versions(made.folder, "pictures")
    content = made.path.read_bytes()
    fields: dict[str, Any] = {}
    measured, message = made.measured, ""
    if case == "flipped":
        weights = content.rindex(graph.read(made.path).graph.initializer[0].raw_data[:8])
        flipped = bytearray(content)
        flipped[weights] ^= 1  # the lowest bit of one weight: no output shows it
        made.path.write_bytes(flipped)
        message = r"the check of files failed: model\.onnx must be the file that was measured"
    elif case == "preprocessing":
        fields["preprocessing"] = PicturePreprocessing(height=8, width=8, mean=(0.1,))
        message = r"the check of raw input by CPUExecutionProvider failed: outputs must be those"
    elif case == "no preprocessing file":
        fields["preprocessing"] = {"kind": "text", "tokenizer": "tokenizer.json", "max_length": 8}
        message = r"the check of loading by CPUExecutionProvider failed: .* is no tokenizer"
    elif case == "provider":  # one that multiplies in half precision
        half = made.folder / "half.onnx"
        quantize.halve(made.path, half)
        measured = replace(measured, outputs=made.of(half).outputs)
        message = r"the check of outputs by CPUExecutionProvider failed: .* to 0\.0001, got a difference of"
    else:
        asked = iter([np.zeros(300, np.bool_), np.ones(300, np.bool_)])
        measured = replace(measured, right=lambda _outputs: next(asked))
        message = r"the check of quality by CPUExecutionProvider failed: 300 of 300 held-out .*, got 0"
    try:
        with pytest.raises(VerifyError, match=message):
            made.publish(measured, **fields)
    finally:
        made.path.write_bytes(content)
    assert store.versions(made.folder, "pictures") == before
    assert not list((made.folder / "pictures").glob(".publishing-*"))
