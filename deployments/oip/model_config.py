"""A model's configuration in Triton's words, for clients that ask for it.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
"""

from typing import Any

from optimization.artifact.manifest import Manifest, TensorSpec

PLATFORM = "onnxruntime_onnx"


def model_config(
    manifest: Manifest, *, is_batched: bool, max_request_samples: int, max_batch_size: int
) -> dict[str, Any]:
    """The configuration of a model that takes requests of up to `max_request_samples` samples, in calls of up to
    `max_batch_size`.

    As in Triton, `dims` leave out the batch, and a model that does not batch has `max_batch_size` 0 and whole `dims`.
    Triton's `max_batch_size` is the most that a client may send.
    """
    config = {
        "name": manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_request_samples if is_batched else 0,
        "input": [_tensor(spec, is_batched) for spec in manifest.inputs],
        "output": [_tensor(spec, is_batched) for spec in manifest.outputs],
    }
    if not is_batched:
        return config
    says = f"a request of more than {max_batch_size} samples is answered by several calls, in order"
    return config | {
        "dynamic_batching": {"preferred_batch_size": [max_batch_size]},
        "parameters": {"larger_requests": {"string_value": says}},
    }


def _tensor(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    sizes = spec.shape[1:] if batches else spec.shape
    dims = [size if isinstance(size, int) else -1 for size in sizes]
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": dims}
