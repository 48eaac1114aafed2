"""A model's configuration in Triton's words, for clients that ask for it.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
"""

from typing import Any

from optimization.artifact.manifest import Manifest, TensorSpec

PLATFORM = "onnxruntime_onnx"


def model_config(manifest: Manifest, max_batch_size: int) -> dict[str, Any]:
    """The configuration of a model that takes up to `max_batch_size` samples at a time.

    As in Triton, `dims` leave out the batch, and a model that does not batch has `max_batch_size` 0 and whole `dims`.
    """
    batches = all(spec.shape and isinstance(spec.shape[0], str) for spec in manifest.inputs)
    return {
        "name": manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_batch_size if batches else 0,
        "input": [_tensor(spec, batches) for spec in manifest.inputs],
        "output": [_tensor(spec, batches) for spec in manifest.outputs],
        **({"dynamic_batching": {}} if batches and max_batch_size > 1 else {}),
    }


def _tensor(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    sizes = spec.shape[1:] if batches else spec.shape
    dims = [size if isinstance(size, int) else -1 for size in sizes]
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": dims}
