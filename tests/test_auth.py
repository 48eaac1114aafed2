"""Access control on a real server: the benchmark's attack, in small."""

import json

import pytest

from benchmarks.auth import auth_bypass
from tests.conftest import publish_tiny

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_no_request_without_a_valid_key_is_answered_and_each_is_logged(tmp_path, monkeypatch):
    """At the ingress, at each replica's own port and at Ray's proxy behind them."""
    monkeypatch.setenv("TRIMTAB_AUDIT", str(tmp_path / "audit"))
    found = auth_bypass(publish_tiny(tmp_path / "artifacts"), tmp_path, 600)
    assert (found.answered, found.calls_answered) == ((), ())
    assert found.num_with_insides == 0
    assert found.places_of_keys == (), "a key stands in a log, a command line or on the page"
    assert found.statuses[401] > 100
    assert found.statuses[500] == 0
    logs = {file.name.partition("-")[0]: file.read_text().splitlines() for file in (tmp_path / "audit").iterdir()}
    assert set(logs) == {"tiny", "server", "telemetry"}
    keys = (tmp_path / "keys.yaml").read_text()
    assert not any(line.partition("sha256: ")[2] in str(logs) for line in keys.splitlines() if "sha256: " in line)
    entries = [json.loads(line) for lines in logs.values() for line in lines]
    assert len([entry for entry in entries if entry["status"] == 401]) > found.statuses[401]  # gRPC calls as well
    assert {entry["key"] for entry in entries if entry["status"] == 200} == {"good"}
