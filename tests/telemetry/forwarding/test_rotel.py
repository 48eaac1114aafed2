"""rotel, a collector in Rust, as back-end, and our own collector behind it (`rotel-agent` of PyPI's `rotel`)."""

import asyncio
import shutil
import subprocess
import time

import pytest

from telemetry.forwarding.answers import Answer
from telemetry.forwarding.backend import BackEnd
from telemetry.forwarding.forwarding import client_of
from tests.conftest import free_port
from tests.telemetry.forwarding.bodies import spans_body
from tests.telemetry.running import running

ROTEL = shutil.which("rotel") or shutil.which("rotel-agent")


async def delivered(config: BackEnd, name: str) -> Answer:
    """The answer, once rotel is there."""
    client = client_of(config)
    end_s = time.monotonic() + 60
    while (answer := await client.send("traces", spans_body(name))).outcome == "retry" and time.monotonic() < end_s:
        await asyncio.sleep(0.1)
    await client.close()
    return answer


@pytest.mark.slow
@pytest.mark.skipif(not ROTEL, reason="rotel is not installed")
def test_rotel_takes_what_is_forwarded_and_hands_it_on_to_our_collector():
    ports = {"grpc": free_port(), "http/protobuf": free_port()}
    with running() as it:
        command = [ROTEL, "start", "--exporter", "otlp", "--otlp-exporter-endpoint", it.grpc]
        command += ["--otlp-grpc-endpoint", f"127.0.0.1:{ports['grpc']}"]
        command += ["--otlp-http-endpoint", f"127.0.0.1:{ports['http/protobuf']}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as rotel:
            try:
                for protocol, port in ports.items():
                    config = BackEnd(name="rotel", endpoint=f"http://127.0.0.1:{port}", protocol=protocol)
                    assert asyncio.run(delivered(config, f"by {protocol[:4]}")).outcome == "delivered"
                names: set[str] = set()
                end_s = time.monotonic() + 60
                while len(names) < 2 and time.monotonic() < end_s:
                    names = {span.name for span in it.collector.spans.latest("unknown_service")}
                    time.sleep(0.1)
            finally:
                rotel.terminate()
    assert names == {"by grpc", "by http"}
