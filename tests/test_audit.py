"""What CI makes of pip-audit's report."""

import subprocess

import pytest

from tests import audit

SOUND = {"name": "sound", "version": "1", "vulns": []}
WEAK = {"name": "weak", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


def test_a_known_weakness_is_found_and_what_is_accepted_is_not(monkeypatch):
    report = {"dependencies": [SOUND, WEAK, UNKNOWN]}
    assert audit.judged(report) == (["weak 1: PYSEC-1, mended in 2"], 2, 1)
    monkeypatch.setitem(audit.ACCEPTED, "CVE-1", "never reached")
    assert audit.judged(report)[0] == []


@pytest.mark.parametrize("answer", ["", "no connection", subprocess.TimeoutExpired("pip-audit", 1)])
def test_without_a_network_it_says_so_and_does_not_fail(answer, monkeypatch, capsys):
    def run(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess([], 1, stdout=answer)

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.main() == 0
    assert "nothing of constraints.txt was looked up" in capsys.readouterr().out
