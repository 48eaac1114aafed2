"""`collect [collector.yaml]`, or no command at all: the collector and its page, without a cluster."""

import argparse
import contextlib
import logging
from pathlib import Path

import uvicorn

from telemetry import configuration
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.emitting import json_lines
from telemetry.receivers.receiver import listen

FLAGS = {
    "host": "address to listen on",
    "grpc_port": "OTLP over gRPC",
    "http_port": "OTLP over HTTP",
    "page_port": "the page and its API",
}
"""Settings that have a flag; all of them can stand in the file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and flags that override it."""
    parser.add_argument("file", type=Path, nargs="?", metavar="collector.yaml", help="settings; docs/settings.md")
    for name, text in FLAGS.items():
        default = CollectorConfig.model_fields[name].default
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), metavar="X", help=f"{text} (default: {default})"
        )


def run(options: argparse.Namespace) -> int:
    """Run until Ctrl-C or SIGTERM.

    Raises:
        ConfigurationError: the file or a flag says what cannot be.
        PortTakenError: another process listens on a port.
        JournalError: another collector uses the folder.
    """
    given = {name: getattr(options, name) for name in FLAGS if getattr(options, name) is not None}
    config = configuration.read(options.file, given)
    json_lines.begin("collector")  # what follows adds no handler where these have one
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.root.setLevel(logging.INFO)
    for setting, port in (("grpc_port", config.grpc_port), ("http_port", config.http_port)):
        listen(setting, config.host, port).close()
    page = listen("page_port", config.host, config.page_port)
    collector = Collector(config)
    logging.getLogger(__name__).info("the page: http://%s:%d/telemetry", config.host, page.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(collector.asgi, log_level="warning", timeout_graceful_shutdown=1))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[page])
    return 0
