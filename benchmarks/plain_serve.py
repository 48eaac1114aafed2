"""The peer: the same ONNX file as Ray Serve's own documentation would serve it, JSON in and out, nothing tuned."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ray import serve
from ray.serve import Application
from starlette.requests import Request

from optimization.artifact.manifest import TextPreprocessing
from optimization.artifact.store import load

DTYPES = {"FP32": np.float32, "INT64": np.int64}


@serve.deployment(max_ongoing_requests=128)
class Plain:
    """One session, one request at a time; text goes through the artifact's tokenizer first."""

    def __init__(self, path: str) -> None:
        artifact = load(Path(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(artifact.model_path, options, providers=["CPUExecutionProvider"])
        self._names = [node.name for node in self._session.get_inputs()]
        if isinstance(text := artifact.manifest.preprocessing, TextPreprocessing):
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(artifact.path / text.tokenizer))
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(text.max_length)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Predict for an Open Inference Protocol request."""
        tensors = (await request.json())["inputs"]
        if tensors[0]["datatype"] == "BYTES":
            feeds = self._tokens(tensors[0]["data"][0])
        else:
            feeds = {
                tensor["name"]: np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
                for tensor in tensors
            }
        (output, *_) = self._session.run(None, feeds)
        return {"outputs": [{"shape": output.shape, "data": output.ravel().tolist()}]}

    def _tokens(self, text: str) -> dict[str, Any]:
        encoded = self._tokenizer.encode(text)
        known = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids}
        return {name: np.array([known[name]], np.int64) for name in self._names}


def build(args: dict[str, Any]) -> Application:
    """The application for a config file."""
    return Plain.bind(args["artifact"])  # type: ignore[attr-defined,no-any-return]
