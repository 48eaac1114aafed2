"""cluster.yaml, checked by Ray's own validator, and what it starts on a host."""

import argparse
import os
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.util import prepare_config, validate_config

from deployments.commands.node import add_arguments
from deployments.errors import SettingsError
from deployments.hosts import environment, reach

CLUSTER = Path("cluster.yaml")


@pytest.fixture
def config():
    return yaml.safe_load(CLUSTER.read_text())


def test_ray_accepts_cluster_yaml(config):
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["provider"]["type"] == "local"
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["max_workers"] == 2


def test_ray_bootstraps_cluster_yaml(config):
    """What `ray up` does before it first logs in to a host, down to the provider's own defaults."""
    bootstrapped = _bootstrap_config(config, no_config_cache=True)
    assert bootstrapped["head_node_type"] in bootstrapped["available_node_types"]
    assert bootstrapped["auth"]["ssh_user"] == config["auth"]["ssh_user"]


def test_rays_validator_would_find_a_mistake(config):
    config["head_start_ray_command"] = []
    with pytest.raises((ValidationError, ValueError)):
        validate_config(prepare_config(config))


def test_no_host_gets_the_checkout_or_a_compiler(config):
    """What a host is given is a wheel and the files it reads; pip takes nothing that must be built."""
    given = {Path(local) for there, local in config["file_mounts"].items() if there.startswith("~/trimtab")}
    assert all(each.suffix in (".whl", ".txt", ".sh", ".yaml") for each in given)
    assert "--only-binary :all:" in Path("deployments/hosts/install.sh").read_text()


def test_every_start_command_is_one_that_the_wheel_knows(config):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (command,) = config[name]
        words = command.partition("deployments node ")[2].split()
        assert parser.parse_args(words).doing == "start"


def chosen(tmp_path, monkeypatch, *, is_head, **given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "SCRATCH", tmp_path / "scratch")
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    (tmp_path / "auth_token").write_text("secret")
    variables = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "auth_token"), **given}
    environment.prepare(variables, "192.0.2.10", is_head=is_head)
    return variables


def test_a_host_asks_for_rays_token_and_serves_as_the_laptop_does(tmp_path, monkeypatch):
    for is_head in (True, False):
        variables = chosen(tmp_path, monkeypatch, is_head=is_head)
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert variables["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] == "deployments.ingress.servers:middlewares"
        assert variables["TRIMTAB_ACCESS"] == str(tmp_path / "keys.yaml")
        assert variables["RAY_SERVE_HAPROXY_LOG_TARGET"] == ("0.0.0.0:5514" if is_head else "192.0.2.10:5514")
        assert (tmp_path / "auth_token").stat().st_mode & 0o777 == 0o600


def test_ray_ups_choice_of_the_autoscaler_is_not_ours(tmp_path, monkeypatch):
    variables = chosen(tmp_path, monkeypatch, is_head=True, RAY_enable_autoscaler_v2="1")
    assert variables["RAY_enable_autoscaler_v2"] == "0"


def test_nodes_wait_for_their_head_only_where_something_keeps_what_it_knew(tmp_path, monkeypatch):
    waits = "RAY_gcs_rpc_server_reconnect_timeout_s"
    assert waits not in chosen(tmp_path, monkeypatch, is_head=False)
    assert int(chosen(tmp_path, monkeypatch, is_head=False, RAY_REDIS_ADDRESS="192.0.2.9:6379")[waits]) >= 600


def test_a_head_without_its_redis_says_so_at_once(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        for given in (address, f"redis://{address}"):
            chosen(tmp_path, monkeypatch, is_head=True, RAY_REDIS_ADDRESS=given)
    for given in (address, "127.0.0.1"):
        with pytest.raises(SettingsError, match=f"RAY_REDIS_ADDRESS must be host:port .* got {given}: "):
            chosen(tmp_path, monkeypatch, is_head=True, RAY_REDIS_ADDRESS=given)
    chosen(tmp_path, monkeypatch, is_head=False, RAY_REDIS_ADDRESS=address)


def test_a_host_without_the_token_or_the_keys_does_not_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "SCRATCH", tmp_path / "scratch")
    variables = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "auth_token")}
    with pytest.raises(SettingsError, match="get-auth-token --generate"):
        environment.prepare(variables, "192.0.2.10", is_head=True)
    (tmp_path / "auth_token").write_text("secret")
    with pytest.raises(SettingsError, match="key add"):
        environment.prepare(variables, "192.0.2.10", is_head=True)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ({"found": "3.11", "free_kib": 2**30, "clock_s": 1000.2}, None),
        ({"found": "none"}, "Python must be 3.11, as on the head, got none"),
        ({"found": "3.12"}, "Python must be 3.11, as on the head, got 3.12"),
        ({"free_kib": 1024}, "256 MiB must be free on the disk of its home, got 1"),
        ({"clock_s": 940.0}, "its clock must agree with the head's within 5 s, got 60 s apart"),
        ({"clock_s": 1099.5}, "got 99 s apart"),
    ],
)
def test_what_is_wrong_with_a_host_is_said_in_one_sentence(host, says):
    sound = {"found": "3.11", "free_kib": 2**30, "clock_s": 1000.2}
    told = reach.judged(**{**sound, **host}, python="3.11", asked_s=1000.0, told_s=1000.5)
    assert told is None if says is None else says in told


def test_the_head_knows_its_workers_from_what_ray_up_left_there(tmp_path, config):
    file = tmp_path / "ray_bootstrap_config.yaml"
    assert reach.described(file) is None
    file.write_text(yaml.safe_dump(config))
    cluster = reach.described(file)
    assert cluster is not None
    assert (cluster.head, cluster.workers, cluster.user) == ("192.0.2.10", ("192.0.2.11", "192.0.2.12"), "ubuntu")
    config["provider"]["worker_ips"] = "192.0.2.11"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(SettingsError, match="worker_ips must be a list"):
        reach.described(file)


def install(home, **environment):
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], **environment}
    command = ["sh", str(Path("deployments/hosts/install.sh").absolute())]
    return subprocess.run(command, env=variables, capture_output=True, text=True)


def test_a_host_that_cannot_be_installed_says_why_in_one_line(tmp_path):
    (tmp_path / "trimtab").mkdir()
    no_python = {"TRIMTAB_PYTHON": "no-such-python"}
    for variables, says in ((no_python, "Python 3.11 or newer must be there"), ({}, "one wheel")):
        done = install(tmp_path, **variables)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert says in line


def test_an_installed_host_is_left_as_it_is_and_its_shells_find_ray(tmp_path):
    home = tmp_path / "trimtab"
    home.mkdir()
    for name in ("trimtab-0.1.0-py3-none-any.whl", "constraints.txt"):
        (home / name).write_text(name)
    sums = subprocess.run(
        ["sha256sum", "trimtab-0.1.0-py3-none-any.whl", "constraints.txt"], cwd=home, capture_output=True, text=True
    )
    (home / ".installed").write_text(sums.stdout)
    for _ in range(2):
        assert install(tmp_path).returncode == 0
    assert not (home / ".venv").exists()
    assert (tmp_path / ".bashrc").read_text().count("trimtab/bin") == 1
    shell = ["bash", "-c", "source ~/.bashrc; command -v ray"]
    found = subprocess.run(shell, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert found.stdout.strip() == str(home / "bin" / "ray")
