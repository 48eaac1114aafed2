"""The collector as a whole: its ports, its life, its command."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from telemetry.receivers.receiver import PortTakenError, Refusal, listen
from telemetry.series.service import Service
from tests.conftest import free_port
from tests.telemetry.running import running
from tests.telemetry.traffic import Clock, Sender


@pytest.mark.parametrize("setting", ["grpc_port", "http_port"])
def test_a_taken_port_is_named_with_what_to_do(setting):
    taken = listen(setting, "127.0.0.1", 0)
    port = taken.getsockname()[1]
    collector = Collector(CollectorConfig(**{"grpc_port": 0, "http_port": 0, setting: port}))
    with pytest.raises(PortTakenError, match=f"{setting} must be free on 127.0.0.1, got {port}.*set {setting}"):
        asyncio.run(collector.start())
    taken.close()


def test_two_collectors_cannot_share_a_port():
    with running() as it, pytest.raises(PortTakenError):
        asyncio.run(Collector(CollectorConfig(grpc_port=it.collector.grpc_port, http_port=0)).start())


def test_a_collector_can_stop_and_its_ports_are_free_again():
    ports = {"grpc_port": free_port(), "http_port": free_port()}
    for _ in range(2):
        with running(**ports):
            pass


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError):
        CollectorConfig(port=1)


def test_what_is_older_than_the_retention_is_forgotten():
    clock = Clock()
    collector = Collector(CollectorConfig(retention_s=60), clock=clock)
    collector.receive_metrics(Sender().request({}, clock.now_s))
    clock.now_s += 100
    collector.tick()
    assert collector.series.num_series == 0
    assert not collector.services


def test_one_services_exception_is_logged_once_and_leaves_the_others_watched(monkeypatch, caplog):
    clock = Clock()
    collector = Collector(clock=clock)
    senders = [Sender(service=name) for name in ("bad", "good")]
    frame = Service.frame

    def failing(service, now_s):
        if service.name == "bad":
            raise ArithmeticError("its data")
        return frame(service, now_s)

    monkeypatch.setattr(Service, "frame", failing)
    for _ in range(5):
        clock.now_s += 1
        request = senders[0].request({}, clock.now_s)
        request.MergeFrom(senders[1].request({200: np.full(10, 0.002)}, clock.now_s))
        assert collector.receive_metrics(request) == Refusal()
        collector.tick()
    assert list(collector.services["good"].history["throughput"].values)[-3:] == pytest.approx([10] * 3)
    assert [record.getMessage().partition(" failed")[0] for record in caplog.records] == ["watching bad"]
    clock.now_s += 2 * collector.config.retention_s
    collector.tick()
    assert collector.series.num_series == 0, "what is old is forgotten all the same"


def test_ten_thousand_points_take_seconds_of_work_and_no_more():
    clock = Clock()
    collector = Collector(clock=clock)
    senders = [Sender(instance=f"replica-{index}") for index in range(50)]
    began_s = time.process_time()
    for _ in range(200):
        clock.now_s += 1
        for sender in senders:
            collector.receive_metrics(sender.request({}, clock.now_s))
    assert time.process_time() - began_s < 20, "one second on a fast machine"


def test_the_command_runs_and_ends_cleanly_on_ctrl_c():
    ports = [str(free_port()) for _ in range(3)]
    names = ("--grpc-port", "--http-port", "--page-port")
    command = [sys.executable, "-m", "telemetry", *(word for pair in zip(names, ports, strict=True) for word in pair)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        for _ in range(100):
            try:
                assert "Trimtab" in httpx.get(f"http://127.0.0.1:{ports[2]}/telemetry/").text
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert again.returncode == 2
    assert again.stderr.strip().startswith(f"grpc_port must be free on 127.0.0.1, got {ports[0]}")
