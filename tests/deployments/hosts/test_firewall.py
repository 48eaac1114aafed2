"""Who reaches a host of a cluster; that the kernel does what it is told is seen in tests/hosts."""

import argparse
import os
import shutil
import subprocess
from ipaddress import ip_network

import pytest

from deployments.commands.node import add_arguments
from deployments.errors import SettingsError
from deployments.hosts import firewall

PRIVATE = ip_network("10.78.0.0/24")


@pytest.fixture
def nft(tmp_path, monkeypatch):
    """A command of that name that keeps what it is told, or fails; called as root calls it."""

    def make(script):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "nft").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "nft").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return make


def test_the_private_network_and_the_ingress_alone_reach_ports_that_ray_may_choose():
    rules = firewall.rules(PRIVATE, [8001, 8000, 9100, 8000])
    assert "ip saddr 10.78.0.0/24 accept" in rules
    assert "tcp dport { 8000, 8001, 9100 } accept" in rules
    assert rules.index("accept") < rules.index("th dport 1024-65535 reject")
    assert "ip6 saddr fd00::/64 accept" in firewall.rules(ip_network("fd00::/64"), [8000])


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nft"), reason="needs root and nft"
)
@pytest.mark.parametrize("private", [PRIVATE, ip_network("fd00::/64")])
def test_nft_takes_the_rules_twice(private):
    rules = firewall.rules(private, [8000, 8001])
    in_own_network = ["unshare", "--net", "nft", "--file", "-"]
    done = subprocess.run(in_own_network, input=rules + rules, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


def test_what_was_loaded_is_taken_away_once(tmp_path, nft):
    nft(f"cat >>{tmp_path}/told")
    firewall.end(tmp_path / "firewall")
    assert not (tmp_path / "told").exists(), "nothing was loaded"
    firewall.load(firewall.Guard(private=PRIVATE, open_ports=(9100,)), "10.78.0.1", [8000], tmp_path / "firewall")
    told = (tmp_path / "told").read_text()
    assert told == firewall.rules(PRIVATE, [8000, 9100])
    firewall.end(tmp_path / "firewall")
    firewall.end(tmp_path / "firewall")
    assert (tmp_path / "told").read_text() == told + "table inet trimtab\ndelete table inet trimtab\n"


def test_a_network_without_the_host_itself_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"10\.79\.0\.1 among them, got 10\.78\.0\.0/24"):
        firewall.load(firewall.Guard(private=PRIVATE), "10.79.0.1", [8000], tmp_path / "firewall")


def test_a_host_that_cannot_be_guarded_says_what_it_needs(tmp_path, nft, monkeypatch):
    guard = firewall.Guard(private=PRIVATE)
    nft("echo 'nft: Operation not permitted' >&2; exit 1")
    with pytest.raises(SettingsError, match=r"which said: nft: Operation not permitted; install the package nftables"):
        firewall.load(guard, "10.78.0.1", [8000], tmp_path / "firewall")
    monkeypatch.setattr(subprocess, "run", _missing)
    with pytest.raises(SettingsError, match=r"--private needs nft on this host, which is not there"):
        firewall.load(guard, "10.78.0.1", [8000], tmp_path / "firewall")
    assert not list(tmp_path.glob("firewall")), "nothing was loaded"


def test_a_user_who_is_not_root_calls_nft_by_sudo(tmp_path, nft, monkeypatch):
    nft("exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(subprocess, "run", _missing)
    with pytest.raises(SettingsError, match=r"--private needs sudo on this host"):
        firewall.load(firewall.Guard(private=PRIVATE), "10.78.0.1", [8000], tmp_path / "firewall")


def test_a_network_that_is_none_is_refused_by_the_command(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["start", "--head", "--private", "10.0.0.0/8"]).private == ip_network("10.0.0.0/8")
    with pytest.raises(SystemExit):
        parser.parse_args(["start", "--head", "--private", "10.0.0.1/8"])
    assert "--private: must be a network such as 10.0.0.0/24" in capsys.readouterr().err


def _missing(command, **_):
    raise FileNotFoundError(2, "No such file or directory", command[0])
