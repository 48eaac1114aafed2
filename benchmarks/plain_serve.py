"""The peer: the same ONNX file as Ray Serve's own documentation would serve it, JSON in and out, nothing tuned."""

from typing import Any

import numpy as np
import onnxruntime
from ray import serve
from ray.serve import Application
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=128)
class Plain:
    """One session, one request at a time."""

    def __init__(self, model: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Predict for the first tensor of an Open Inference Protocol request."""
        tensor = (await request.json())["inputs"][0]
        array = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        (output, *_) = self._session.run(None, {self._input: array})
        return {"outputs": [{"shape": output.shape, "data": output.ravel().tolist()}]}


def build(args: dict[str, Any]) -> Application:
    """The application for a config file."""
    return Plain.bind(args["model"])  # type: ignore[attr-defined,no-any-return]
