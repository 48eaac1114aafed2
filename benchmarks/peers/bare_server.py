"""No framework at all: uvicorn, orjson and ONNX Runtime in one process. Usage: bare_server.py MODEL PORT"""

import sys
from typing import Any

import orjson
import uvicorn
from tensors import Model

MODEL = Model(sys.argv[1])


async def app(_: Any, receive: Any, send: Any) -> None:
    """Answer any request with a prediction."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    answered = orjson.dumps(MODEL.predict(orjson.loads(body)))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answered)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answered})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), access_log=False, lifespan="off", log_level="error")
