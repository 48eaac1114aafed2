"""A real HTTP server of a directory, on loopback, that can be made slow, faulty and silent."""

import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FileServer(ThreadingHTTPServer):
    """Serves `root` until it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(root)))
        self.asked: list[str] = []
        """Paths, in the order they came."""
        self.cut_after: int | None = None
        """Close the connection after so many bytes of a model."""
        self.hang_after: int | None = None
        """Fall silent after so many bytes of a model, until `go_on` is set."""
        self.go_on = threading.Event()
        self.hanging = threading.Event()
        self.alter: Callable[[bytes], bytes] = lambda content: content
        """What becomes of a model's bytes on their way."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def models_sent(self) -> int:
        """How many times a model's file was asked for."""
        return sum(path.endswith(".onnx") for path in self.asked)

    def close(self) -> None:
        """Stop, and refuse connections from now on."""
        self.go_on.set()
        self.shutdown()
        self.server_close()


class _Handler(SimpleHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if not self.path.endswith(".onnx"):
            super().do_GET()
            return
        content = self.server.alter(Path(self.translate_path(self.path)).read_bytes())
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.cut_after is not None:
            self.wfile.write(content[: self.server.cut_after])
            self.close_connection = True
            return
        if self.server.hang_after is not None:
            self.wfile.write(content[: self.server.hang_after])
            self.wfile.flush()
            self.server.hanging.set()
            self.server.go_on.wait(30)
            content = content[self.server.hang_after :]
        try:
            self.wfile.write(content)
        except OSError:  # whoever asked is gone
            time.sleep(0)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
