"""LitServe: FastAPI in front, a worker process behind. Usage: litserve_server.py MODEL PORT"""

import sys
from typing import Any

import litserve
from tensors import Model


class Predict(litserve.LitAPI):
    """Batches of what waits."""

    def setup(self, _: str) -> None:
        """Load the model in the worker."""
        self.model = Model(sys.argv[1])

    def decode_request(self, request: dict) -> Any:
        """The request is JSON already."""
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        """The model stacks them itself."""
        return inputs

    def predict(self, x: list[Any]) -> list[Any]:
        """Predict for a batch."""
        return self.model.predict_batch(x)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """It is one answer for each already."""
        return output

    def encode_response(self, output: Any) -> Any:
        """It is JSON already."""
        return output


if __name__ == "__main__":
    api = Predict(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
