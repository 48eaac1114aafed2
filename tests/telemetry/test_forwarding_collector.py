"""A collector that forwards to another one, killed while it does: duplicates are legal, loss is not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import ValidationError

from telemetry.config import CollectorConfig
from telemetry.configuration import parse
from telemetry.errors import ConfigurationError
from tests.conftest import free_port
from tests.telemetry.forwarding.bodies import logs_body, spans_body
from tests.telemetry.running import Running, running

PROTOBUF = {"content-type": "application/x-protobuf"}


def until(is_so: Callable[[], bool], within_s: float = 60.0) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def traces_in(it: Running) -> set[str]:
    return {span.name for span in it.collector.spans.all()}


class Process:
    """`python -m telemetry collector.yaml` that forwards to `backend`, to be killed and started again."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.port = free_port()
        self._file = folder / "collector.yaml"
        settings = {
            "data_dir": str(folder / "data"),
            "grpc_port": free_port(),
            "http_port": self.port,
            "page_port": free_port(),
            "forwarding": [{"name": "other", "endpoint": backend, "protocol": "http/protobuf"}],
        }
        self._file.write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Process"]:
        self._process = subprocess.Popen([sys.executable, "-m", "telemetry", str(self._file)], env={**os.environ})
        try:
            until(self._answers)
            yield self
        finally:
            self.kill()

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def acknowledges(self, name: str) -> bool:
        """Whether a span of this name was sent and acknowledged."""
        try:
            answer = httpx.post(f"http://127.0.0.1:{self.port}/v1/traces", content=spans_body(name), headers=PROTOBUF)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def _answers(self) -> bool:
        try:
            return httpx.post(f"http://127.0.0.1:{self.port}/v1/traces", content=b"", headers=PROTOBUF).is_success
        except httpx.TransportError:
            return False


@pytest.mark.long
def test_all_that_a_killed_collector_acknowledged_reaches_the_back_end(tmp_path):
    with running() as backend:
        process = Process(tmp_path, backend.http)
        with process.running():
            acknowledged = [name for name in (f"span-{index}" for index in range(50)) if process.acknowledges(name)]
        with process.running():
            until(lambda: set(acknowledged) <= traces_in(backend))
    assert len(acknowledged) == 50


def test_all_three_signals_go_on_in_process_and_the_back_end_may_come_later(tmp_path):
    port = free_port()
    backend = {"name": "other", "endpoint": f"http://127.0.0.1:{port}"}
    with running(data_dir=tmp_path, forwarding=[backend]) as it:
        for path, body in (("traces", spans_body("a")), ("logs", logs_body("said"))):
            assert httpx.post(f"{it.http}/v1/{path}", content=body, headers=PROTOBUF).status_code == 200
        with running(grpc_port=port) as other:
            until(lambda: traces_in(other) == {"a"})
            until(lambda: it.collector.forwarding.forwarders[0].lag_bytes == 0)


def test_a_collector_that_stops_while_its_back_end_is_away_does_so_within_seconds(tmp_path):
    backend = {"name": "other", "endpoint": f"http://127.0.0.1:{free_port()}"}
    with running(data_dir=tmp_path, forwarding=[backend]) as it:
        httpx.post(f"{it.http}/v1/traces", content=spans_body("a"), headers=PROTOBUF)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"forwarding": [{"name": "a", "endpoint": "http://a:1"}]}, "forwarding needs a data_dir"),
        ({"forwarding": [{"name": "a", "endpoint": "http://a:1"}] * 2, "data_dir": "x"}, "a name of its own"),
    ],
)
def test_forwarding_that_could_lose_what_it_took_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        CollectorConfig(**settings)


def test_a_secret_in_a_file_that_is_wrong_is_not_shown():
    secret = "hush-4711"
    for wrong in (
        {"headers": {"x": [secret]}},
        {"headers": {"x": secret}, "endpoint": "a:1"},
        {"headers": {"x": secret}, "y": 1},
    ):
        with pytest.raises(ConfigurationError) as refused:
            parse({"forwarding": [{"name": "a", "endpoint": "http://a:1", **wrong}], "data_dir": "x"}, "collector.yaml")
        assert secret not in str(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        parse({"forwarding": [{"headers": {"x": secret}}]}, "collector.yaml")
    assert secret not in str(refused.value)
