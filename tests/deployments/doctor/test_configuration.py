"""A serve_config.yaml is looked at whole: each application, keys, certificate and port has a line of its own."""

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from deployments.__main__ import main
from deployments.access import keys
from deployments.doctor.certificate import valid_until
from deployments.ingress.haproxy import TLS_CERT
from tests.conftest import free_port, publish_tiny
from tests.test_tls import certificate  # noqa: F401 - a fixture


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the settings of two models, of which `tiny` is published, and keys that the server goes by."""
    monkeypatch.delenv(TLS_CERT, raising=False)
    publish_tiny(tmp_path / "artifacts")

    def write(**options):
        def application(name, **args):
            return {
                "name": name,
                "route_prefix": f"/v2/models/{name}",
                "import_path": "deployments.app:model",
                "args": {"artifact": name, "artifacts": str(tmp_path / "artifacts"), **args},
            }

        names = options.pop("models", ["tiny"])
        config = {
            "http_options": {"host": "127.0.0.1", "port": options.pop("port", free_port())},
            "applications": [application(name, **options) for name in names],
        }
        path = tmp_path / "serve_config.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


@pytest.fixture
def looked(capsys):
    """The exit code of the command and what it found, by where and what."""

    def looked(path):
        url = f"http://127.0.0.1:{free_port()}"
        code = main(["doctor", str(path), "--no-cluster", "--json", "--url", url])
        printed = json.loads(capsys.readouterr().out)
        return code, {(each["where"], each["what"]): each for each in printed["findings"]}

    return looked


def test_what_can_be_served_has_no_fault(write, looked):
    path = write()
    _, found = looked(path)
    assert found["tiny", "application"]["verdict"] == "fine"
    assert found[str(path), "http_options.port"]["verdict"] == "fine"


def test_each_application_that_cannot_be_served_is_a_fault_of_its_own(write, looked):
    code, found = looked(write(models=["tiny", "gone", "lost"]))
    assert code == 2
    assert found["tiny", "application"]["verdict"] == "fine"
    for name in ("gone", "lost"):
        assert found[name, "application"]["verdict"] == "fault"
        assert f"artifact '{name}' is missing" in found[name, "application"]["found"]


def test_a_setting_that_breaks_its_rule_is_told_as_serve_tells_it(write, looked):
    _, found = looked(write(num_threads=0))
    assert "num_threads" in found["tiny", "application"]["found"]


def test_a_port_that_is_taken_by_another_is_a_fault(write, looked):
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = write(port=server.getsockname()[1])
        code, found = looked(path)
    assert code == 2
    assert "must be free" in found[str(path), "http_options.port"]["found"]
    assert "ss -ltnp" in found[str(path), "http_options.port"]["mend"]


@pytest.mark.parametrize(("days", "verdict"), [(-1, "warning"), (3, "warning"), (300, "fine")])
def test_a_key_is_told_before_it_ends(tmp_path, write, looked, days, verdict):
    file = tmp_path / "keys.yaml"
    ends = datetime.now(UTC) + timedelta(days=days)
    keys.add(file, keys.Key(id="ci", sha256=keys.hash_of("x"), expires=ends))
    keys.add(file, keys.Key(id="admin", sha256=keys.hash_of("y"), admin=True))
    _, found = looked(write(access=str(file)))
    assert found[str(file), "key 'ci'"]["verdict"] == verdict
    assert keys.hash_of("x") not in json.dumps(list(found.values()))


def test_a_file_of_keys_of_which_none_opens_is_a_fault(tmp_path, write, looked):
    file = tmp_path / "keys.yaml"
    keys.add(file, keys.Key(id="ci", sha256=keys.hash_of("x"), expires=datetime.now(UTC) - timedelta(days=1)))
    code, found = looked(write(access=str(file)))
    assert code == 2
    assert found[str(file), "keys"]["found"] == "no key opens"


def test_a_certificate_says_until_when_it_is_valid(certificate):  # noqa: F811
    hours = (valid_until(certificate) - datetime.now(UTC)).total_seconds() / 3600
    assert 23 < hours <= 24


def test_a_certificate_that_ends_soon_is_told(write, looked, monkeypatch, certificate):  # noqa: F811
    monkeypatch.setenv(TLS_CERT, str(certificate))
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/bin/trimtab-haproxy")
    _, found = looked(write())
    assert found[str(certificate), "certificate"]["verdict"] == "warning"
    assert "expires in 1.0 days" in found[str(certificate), "certificate"]["found"]
