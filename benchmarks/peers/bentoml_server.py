"""BentoML: its own HTTP front, one worker. Usage: MODEL=FILE bentoml serve bentoml_server:Predict --port PORT"""

import os
from typing import Any

import bentoml
from tensors import Model


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Predict:
    """Batches of what waits."""

    def __init__(self) -> None:
        self.model = Model(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def infer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predict for a batch; each client sends a list of one request."""
        return self.model.predict_batch(requests)
