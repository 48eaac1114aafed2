"""The `serve` command: what it checks before Ray starts, what it sets, what it ends."""

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.servers import BIN
from deployments.errors import SettingsError
from deployments.launch import preflight
from deployments.launch.serve import end_ingress, joins_cluster, set_environment
from optimization.artifact.store import ArtifactError
from tests.conftest import free_port


def config(published, /, **changes):
    """A config that passes, with changes to the model's args."""
    args = {"artifact": "tiny", "artifacts": str(published.path.parents[1])} | changes
    return {
        "http_options": {"host": "127.0.0.1", "port": free_port()},
        "applications": [
            {
                "name": args["artifact"],
                "route_prefix": f"/v2/models/{args['artifact']}",
                "import_path": "deployments.app:model",
                "args": args,
            },
            {
                "name": "telemetry",
                "route_prefix": "/telemetry",
                "import_path": "deployments.app:telemetry",
                "args": {"grpc_port": free_port(), "http_port": free_port()},
            },
        ],
    }


def test_a_sound_config_passes(tiny_artifact):
    preflight.check(config(tiny_artifact))


def test_a_missing_artifact_is_named_with_the_command_that_makes_it(tiny_artifact):
    with pytest.raises(ArtifactError, match="'digits' is missing") as raised:
        preflight.check(config(tiny_artifact, artifact="digits"))
    assert "python -m optimization optimization/recipes/digits.yaml" in str(raised.value)


def test_a_damaged_artifact_is_refused(tiny_artifact):
    tiny_artifact.model_path.write_bytes(b"x" * tiny_artifact.model_path.stat().st_size)
    with pytest.raises(ArtifactError, match="sha256"):
        preflight.check(config(tiny_artifact))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_batchsize": 3}, r"args\.max_batchsize: Extra inputs.*known: .*max_batch_size"),
        ({"max_batch_size": 0}, r"args\.max_batch_size: .*greater than or equal to 1, got 0"),
        ({"artifact": "../x"}, r"args\.artifact"),
        ({"trace_ratio": 2}, r"args\.trace_ratio: .*less than or equal to 1, got 2"),
    ],
)
def test_a_wrong_setting_is_named(tiny_artifact, changes, said):
    with pytest.raises(SettingsError, match=said):
        preflight.check(config(tiny_artifact, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "mine"}, "application 'mine': name must be 'tiny', as its args name 'tiny', got 'mine'"),
        ({"route_prefix": "/tiny"}, "application 'tiny': route_prefix must be '/v2/models/tiny', .* got '/tiny'"),
    ],
)
def test_an_application_must_bear_its_artifacts_name(tiny_artifact, changes, said):
    wanted = config(tiny_artifact)
    wanted["applications"][0] |= changes
    with pytest.raises(SettingsError, match=said):
        preflight.check(wanted)


@pytest.mark.parametrize(
    ("place", "setting"),
    [("http", "http_options.port"), ("grpc_port", "args.grpc_port"), ("http_port", "args.http_port")],
)
def test_a_port_that_is_taken_is_named(tiny_artifact, place, setting):
    wanted = config(tiny_artifact)
    telemetry = wanted["applications"][1]["args"]
    port = wanted["http_options"]["port"] if place == "http" else telemetry[place]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as HAProxy binds
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(SettingsError, match=rf"{setting} must be free, got {port}"):
            preflight.check(wanted)


def test_the_network_is_not_served_without_keys(tiny_artifact, tmp_path, monkeypatch):
    monkeypatch.delenv("TRIMTAB_ACCESS", raising=False)
    wanted = config(tiny_artifact)
    wanted["http_options"]["host"] = "0.0.0.0"
    with pytest.raises(SettingsError, match="access must be a file of keys or 'open'"):
        preflight.check(wanted)
    monkeypatch.setenv("TRIMTAB_ACCESS", str(tmp_path / "keys.yaml"))
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        preflight.check(wanted)
    monkeypatch.setenv("TRIMTAB_ACCESS", "open")
    preflight.check(wanted)


def test_ports_of_a_cluster_that_runs_already_may_be_open(tiny_artifact):
    wanted = config(tiny_artifact)
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", wanted["http_options"]["port"]))
        ours.listen()
        preflight.check(wanted, ports=False)


@pytest.mark.parametrize(
    ("arguments", "environment", "joins"),
    [
        (["run", "c.yaml"], {}, False),
        (["run", "c.yaml", "--address", "local"], {"RAY_ADDRESS": "x:6379"}, False),
        (["run", "c.yaml", "--address", "auto"], {}, True),
        (["run", "--address=x:6379", "c.yaml"], {}, True),
        (["run", "c.yaml"], {"RAY_ADDRESS": "x:6379"}, True),
    ],
)
def test_an_address_says_that_a_cluster_runs_already(arguments, environment, joins, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert joins_cluster(arguments, environment) is joins


def test_the_command_fails_at_once_without_a_traceback(tiny_artifact, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config(tiny_artifact, artifact="digits")))
    done = subprocess.run([str(BIN / "serve"), "run", str(file)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith("serve: artifact 'digits' is missing")
    assert "Make it with: python -m optimization optimization/recipes/digits.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "said"), [("a: [", "is no YAML"), ("- a", "must hold a mapping, got list")])
def test_a_file_that_is_no_config_is_refused(tmp_path, text, said):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    done = subprocess.run([str(BIN / "serve"), "run", str(file)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_chooses_haproxy_unless_told_otherwise():
    environment = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
    set_environment(environment, Path("/somewhere"))
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "0"
    assert environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"] == "/somewhere/haproxy.cfg"


def test_the_logs_port_is_another_where_its_own_is_taken_for_udp():
    """A TCP listener is no matter: the log comes by UDP."""
    taken_for = {}
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(type=kind) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            taken_for[kind] = preflight.free_udp_port(port) != port
    assert taken_for == {socket.SOCK_DGRAM: True, socket.SOCK_STREAM: False}


def test_rays_own_proxies_listen_where_those_of_another_cluster_do_not():
    """They would share the port, and each other's requests."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        port = other.getsockname()[1]
        assert preflight.free_port_from(port) > port


def test_only_our_ingress_is_ended(tmp_path):
    haproxy = tmp_path / "haproxy"
    haproxy.symlink_to(sys.executable)
    ours, theirs = (
        subprocess.Popen([haproxy, "-c", "import time; time.sleep(60)", folder]) for folder in ("/tmp/a/cfg", "/tmp/b")
    )
    try:
        end_ingress("/tmp/a")
        assert not psutil.pid_exists(ours.pid)
        assert theirs.poll() is None
    finally:
        for process in (ours, theirs):
            process.kill()
            process.wait()
