"""Run by the clients' own Python: asks a model through the unmodified tritonclient and prints what it says as JSON.

Usage: triton_http.py HOST:PORT MODEL INPUT_NAME ROWS_AS_JSON
"""

import json
import sys

import numpy as np
import tritonclient.http as triton

address, model, name, rows = sys.argv[1:]
array = np.array(json.loads(rows), dtype=np.float32)
client = triton.InferenceServerClient(address)
metadata = client.get_model_metadata(model)
answers = {}
for form, binary in (("binary", True), ("json", False)):
    tensor = triton.InferInput(name, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    wanted = [triton.InferRequestedOutput(o["name"], binary_data=binary) for o in metadata["outputs"]]
    for compression in (None, "gzip", "deflate"):
        result = client.infer(
            model,
            [tensor],
            outputs=wanted,
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        answers[f"{form} {compression}"] = result.as_numpy(metadata["outputs"][0]["name"]).tolist()
answers["default"] = client.infer(model, [tensor]).as_numpy(metadata["outputs"][0]["name"]).tolist()
try:
    client.infer(model, [triton.InferInput("wrong", [1], "FP32")])
    refused = ""
except triton.InferenceServerException as error:
    refused = error.message()
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "versions": metadata["versions"],
            "index": client.get_model_repository_index(),
            "answers": answers,
            "refused": refused,
        }
    )
)
