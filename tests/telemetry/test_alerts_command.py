"""`python -m telemetry alerts`, against a collector whose one service fails."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from telemetry import __main__ as command_line
from telemetry.collector import Collector
from telemetry.config import CollectorConfig
from tests.telemetry.running import running
from tests.telemetry.traffic import Clock, Sender


@pytest.fixture
def page() -> Iterator[str]:
    clock, sender = Clock(), Sender()
    collector = Collector(CollectorConfig(grpc_port=0, http_port=0), clock=clock)
    for _ in range(30):
        clock.now_s += 1
        collector.receive_metrics(sender.request({500: np.full(20, 0.002)}, clock.now_s))
        collector.tick()
    with running(collector) as served:
        yield served.page


def alerts(page: str, *more: str) -> int:
    return command_line.main(["alerts", "--url", page, "--by", "ann", *more])


def test_an_open_incident_is_shown_and_told_by_the_exit_code_until_it_is_silenced(page, capsys):
    assert alerts(page) == 1
    assert "server errors in 100.0%" in " ".join(capsys.readouterr().out.split())
    assert alerts(page, "--acknowledge", "1") == 1
    assert "ann looks" in " ".join(capsys.readouterr().out.split())
    assert alerts(page, "--silence", "digits", "--why", "a test") == 0
    capsys.readouterr()
    assert alerts(page, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["incidents"][0]["silenced"] and told["silences"][0]["why"] == "a test"


def test_what_is_accepted_has_ended(page, capsys):
    assert alerts(page, "--accept", "1", "--why", "that is how it is") == 0
    assert "no incident is open" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--acknowledge", "99"], "answered 404"),
        (["--silence", "digits"], "--silence needs --why"),
        (["--silence", "digits", "--why", "x", "--hours", "0"], "answered 422"),
    ],
)
def test_what_cannot_be_done_is_told(page, more, told, capsys):
    assert alerts(page, *more) == 2
    assert told in capsys.readouterr().err


def test_a_page_that_is_not_there_is_told(capsys):
    assert alerts("http://127.0.0.1:9/telemetry") == 2
    assert "--url must be where the page is" in capsys.readouterr().err
