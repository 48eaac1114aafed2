"""MLServer: Seldon's server of the same protocol. Usage: mlserver_server.py MODEL PORT"""

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
RUNTIME = """
import os, sys
sys.path.insert(0, {here!r})
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from tensors import Model


class Predict(MLModel):
    async def load(self):
        self.model = Model({model!r})
        return True

    async def predict(self, payload):
        feeds = {{each.name: NumpyCodec.decode_input(each) for each in payload.inputs}}
        rows = self.model.session.run(None, feeds)[0]
        output = NumpyCodec.encode_output(self.model.output, rows)
        return InferenceResponse(model_name=self.name, outputs=[output])
"""

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    (folder / "predict_runtime.py").write_text(RUNTIME.format(here=str(HERE), model=sys.argv[1]))
    settings = {"http_port": int(sys.argv[2]), "host": "127.0.0.1", "grpc_port": int(sys.argv[2]) + 1}
    settings |= {"metrics_port": int(sys.argv[2]) + 2, "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "model", "implementation": "predict_runtime.Predict"}
    model |= {"max_batch_size": 64, "max_batch_time": 0.001}
    (folder / "model-settings.json").write_text(json.dumps(model))
    os.chdir(folder)
    command = str(Path(sys.executable).parent / "mlserver")
    os.execv(command, [command, "start", "."])
