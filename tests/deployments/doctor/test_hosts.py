"""Hosts are asked by a script that any of them can run: here by this machine's own shell in place of ssh."""

import os
import re
import socket
import subprocess

import pytest

from deployments.__main__ import main
from deployments.doctor import hosts
from deployments.doctor.finding import Verdict
from deployments.doctor.hosts import addresses, asked
from deployments.doctor.machine import of_host, together
from deployments.hosts.ssh import HostError, by_ssh
from deployments.ray_private import cluster_problem

CLUSTER = {
    "cluster_name": "c",
    "provider": {"type": "local", "head_ip": "192.0.2.1", "worker_ips": ["192.0.2.2"]},
    "auth": {"ssh_user": "ann"},
}


def shell(path=None, change=lambda said: said, port=None):
    """Runs a script as the host would whose programs lie in `path`."""

    def run(host, script):
        script = re.sub(r"192\.0\.2\.\d", "127.0.0.1", script)
        if port is not None:
            script = script.replace(f"$each/{hosts.SSH_PORT}", f"$each/{port}")
        environment = {**os.environ, **({"PATH": str(path)} if path else {})}
        done = subprocess.run(
            ["/bin/sh", "-s"], input=script, capture_output=True, text=True, env=environment, check=False
        )
        return change(done.stdout)

    return run


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def faults(said):
    found = [*hosts.findings(said)]
    answers = [each for each in said.values() if not isinstance(each, HostError)]
    for each in answers:
        found += of_host(each.facts)
    found += together([each.facts for each in answers], {each.facts.host: each.ahead_s for each in answers})
    return {(each.where, each.what): each.found for each in found if each.verdict is Verdict.FAULT}


def test_hosts_are_the_head_and_its_workers_and_none_where_a_provider_makes_them():
    assert addresses(CLUSTER) == ["192.0.2.1", "192.0.2.2"]
    assert addresses({"provider": {"type": "aws"}}) == []


def test_a_sound_host_tells_its_facts_and_reaches_the_others(listening):
    said = asked(["192.0.2.1", "192.0.2.2"], shell(port=listening))
    host = said["192.0.2.1"]
    assert (host.missing, host.unreached) == (tuple(each for each in host.missing if each == "rsync"), ())
    assert host.facts.python.startswith("3.")
    assert abs(host.ahead_s) < 1
    assert host.facts.memory_bytes > host.facts.free_memory_bytes > 0


def test_a_host_that_reaches_no_other_is_a_fault_that_names_it():
    said = asked(["192.0.2.1", "192.0.2.2"], shell(port=1))
    assert faults(said)["192.0.2.1", "reachability"] == "cannot connect to 127.0.0.1, port 22"


def test_a_host_that_cannot_be_asked_costs_no_other_its_answer(listening):
    fine = shell(port=listening)

    def run(host, script):
        if host == "192.0.2.2":
            raise HostError("Connection timed out")
        return fine(host, script)

    said = asked(["192.0.2.1", "192.0.2.2"], run)
    assert faults(said)["192.0.2.2", "ssh"] == "Connection timed out"
    assert not isinstance(said["192.0.2.1"], HostError)


@pytest.mark.parametrize(
    ("pattern", "becomes", "what", "found"),
    [
        (r"python=.*", "python=", "Python", "0"),
        (r"python=.*", "python=3.9.2", "Python", "3.9.2"),
        (r"free=.*", "free=1024", "disk for the home folder", "0.0 GiB free (0 %)"),
        (r"time=.*", "time=1700000000.5", "clock", "s behind this host's"),
        (r"\Z", "missing=rsync\n", "programs", "rsync missing"),
    ],
)
def test_a_host_without_python_of_another_version_full_or_late_is_told_by_that(
    listening, pattern, becomes, what, found
):
    said = asked(["192.0.2.1"], shell(port=listening, change=lambda text: re.sub(pattern, becomes, text, count=1)))
    assert found in faults(said)["192.0.2.1", what]


def test_ssh_that_is_refused_says_its_last_line(tmp_path, monkeypatch):
    fake = tmp_path / "ssh"
    fake.write_text(
        '#!/bin/sh\necho "args: $@" >&2\necho "ann@192.0.2.1: Permission denied (publickey)." >&2\nexit 255\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(HostError, match=r"^ann@192\.0\.2\.1: Permission denied \(publickey\)\.$"):
        by_ssh(CLUSTER)("192.0.2.1", "true")


def test_a_cluster_yaml_with_a_wrong_field_is_told_by_it():
    assert cluster_problem(CLUSTER | {"max_workers": 1}) is None
    assert "min_worker" in cluster_problem(CLUSTER | {"min_worker": 2})
    assert cluster_problem({"cluster_name": "c", "provider": {"type": "local"}})


def test_a_file_that_is_neither_is_refused(tmp_path, capsys):
    (tmp_path / "other.yaml").write_text("a: 1")
    assert main(["doctor", str(tmp_path / "other.yaml"), "--no-cluster"]) == 2
    assert "must be a serve_config.yaml or a cluster.yaml" in capsys.readouterr().err
