"""What every peer needs: requests of the Open Inference Protocol's JSON to arrays, batches of them, and back."""

from typing import Any

import numpy as np
import onnxruntime

DTYPES = {"FP32": np.float32, "INT64": np.int64}


class Model:
    """The ONNX file in a session of one thread, as Trimtab's replica has it."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.output = self.session.get_outputs()[0].name

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        return answer(self.session.run(None, feeds(request))[0], self.output)

    def predict_batch(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to several requests of one row each, from one call."""
        each = [feeds(request) for request in requests]
        batch = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
        (rows, *_) = self.session.run(None, batch)
        return [answer(rows[at : at + 1], self.output) for at in range(len(requests))]


def feeds(request: dict[str, Any]) -> dict[str, Any]:
    """Arrays by name."""
    return {
        tensor["name"]: np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
        for tensor in request["inputs"]
    }


def answer(output: Any, name: str) -> dict[str, Any]:
    """One output as the protocol words it."""
    data = output.ravel().tolist()
    return {"outputs": [{"name": name, "datatype": "FP32", "shape": list(output.shape), "data": data}]}
