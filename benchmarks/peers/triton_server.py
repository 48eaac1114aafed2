"""Triton by PyTriton: its real HTTP front, the model in its Python backend. Usage: triton_server.py MODEL PORT"""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from tensors import Model

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def main() -> None:
    """Serve until killed."""
    model = Model(sys.argv[1])
    port = int(sys.argv[2])

    @batch
    def infer(**feeds: np.ndarray) -> list[np.ndarray]:
        return model.session.run(None, feeds)

    def tensors(nodes: list) -> list[Tensor]:
        shapes = [[size if isinstance(size, int) else -1 for size in node.shape[1:]] for node in nodes]
        return [
            Tensor(name=node.name, dtype=TYPES[node.type], shape=tuple(shape))
            for node, shape in zip(nodes, shapes, strict=True)
        ]

    config = TritonConfig(http_address="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="model",
            infer_func=infer,
            inputs=tensors(model.session.get_inputs()),
            outputs=tensors(model.session.get_outputs()),
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
