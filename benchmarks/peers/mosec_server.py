"""mosec: a Rust front and one worker. Usage: MOSEC_PORT=PORT MODEL=FILE mosec_server.py"""

import os
from typing import Any

import orjson
from mosec import Server, Worker
from tensors import Model


class Predict(Worker):
    """Batches of what waits."""

    def __init__(self) -> None:
        self.model = Model(os.environ["MODEL"])

    def deserialize(self, data: bytes) -> Any:
        """JSON by orjson, which is faster than mosec's own."""
        return orjson.loads(data)

    def serialize(self, data: Any) -> bytes:
        """JSON by orjson."""
        return orjson.dumps(data)

    def forward(self, data: list[Any]) -> list[Any]:
        """Predict for a batch."""
        return self.model.predict_batch(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Predict, num=1, max_batch_size=64, max_wait_time=1)
    server.run()
