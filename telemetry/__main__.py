"""`python -m telemetry`: the collector and its page, without a cluster."""

import argparse
import contextlib
import logging

import uvicorn

from telemetry.collector import Collector, CollectorConfig
from telemetry.receivers.receiver import PortTakenError, listen


def main() -> None:
    """Run until Ctrl-C."""
    defaults = CollectorConfig()
    parser = argparse.ArgumentParser(prog="python -m telemetry", description=__doc__)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--grpc-port", type=int, default=defaults.grpc_port, help="OTLP over gRPC")
    parser.add_argument("--http-port", type=int, default=defaults.http_port, help="OTLP over HTTP")
    parser.add_argument("--page-port", type=int, default=8088, help="the page")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    collector = Collector(
        CollectorConfig(host=arguments.host, grpc_port=arguments.grpc_port, http_port=arguments.http_port)
    )
    try:
        for setting, port in (("grpc_port", arguments.grpc_port), ("http_port", arguments.http_port)):
            listen(setting, arguments.host, port).close()
        page = listen("page_port", arguments.host, arguments.page_port)
    except PortTakenError as error:
        raise SystemExit(error.strerror) from None
    logging.getLogger(__name__).info("the page: http://%s:%d/telemetry", arguments.host, page.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(collector.asgi, log_level="warning", timeout_graceful_shutdown=1))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[page])


if __name__ == "__main__":
    main()
