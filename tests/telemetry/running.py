"""A real collector and its page on free ports, for tests that talk to it over the network."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.receivers.receiver import listen


@dataclass
class Running:
    """Where it listens."""

    collector: Collector
    page_port: int

    @property
    def grpc(self) -> str:
        """OTLP/gRPC."""
        return f"http://127.0.0.1:{self.collector.grpc_port}"

    @property
    def http(self) -> str:
        """OTLP/HTTP."""
        return f"http://127.0.0.1:{self.collector.http_port}"

    @property
    def page(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.page_port}/telemetry"


@contextmanager
def running(
    collector: Collector | None = None, *, clock: Callable[[], float] = time.time, **settings: object
) -> Iterator[Running]:
    """Run a collector, the given one or a new one, by its ASGI lifespan, in a thread of its own."""
    listener = listen("page_port", "127.0.0.1", 0)
    collector = collector or Collector(CollectorConfig(**{"grpc_port": 0, "http_port": 0, **settings}), clock=clock)
    server = uvicorn.Server(uvicorn.Config(collector.asgi, log_level="warning", timeout_graceful_shutdown=1))
    started = threading.Event()

    async def serve() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        started.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield Running(collector, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
