"""What `forwarding:` takes, and that it keeps secrets."""

import pytest
from pydantic import ValidationError

from telemetry.forwarding.backend import BackEnd, SecretError

SECRET = "hush-4711"


def test_a_secret_comes_from_a_file_or_the_environment_and_is_never_shown(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(f"Bearer {SECRET}\n")
    monkeypatch.setenv("TOKEN", SECRET)
    backend = BackEnd(
        name="tempo",
        endpoint="http://tempo:4317",
        headers={"Authorization": {"file": tmp_path / "token"}, "x-a": {"env": "TOKEN"}, "x-b": SECRET},
    )
    assert backend.metadata() == {"authorization": f"Bearer {SECRET}", "x-a": SECRET, "x-b": SECRET}
    assert SECRET not in repr(backend) + str(backend.model_dump()) + backend.model_dump_json()


def test_a_secret_that_is_not_there_is_named(tmp_path):
    for place, words in (({"env": "NO_SUCH"}, "NO_SUCH must hold"), ({"file": tmp_path / "no"}, "no must hold")):
        with pytest.raises(SecretError, match=words):
            BackEnd(name="a", endpoint="http://a:1", headers={"x": place}).metadata()


def test_a_secret_of_two_lines_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("TOKEN", f"a\n{SECRET}")
    with pytest.raises(SecretError) as refused:
        BackEnd(name="a", endpoint="http://a:1", headers={"x": {"env": "TOKEN"}}).metadata()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"endpoint": "tempo:4317"}, "must begin with http"),
        ({"endpoint": f"http://me:{SECRET}@tempo"}, "must hold no password"),
        ({"endpoint": f"ftp://me:{SECRET}@tempo"}, "must begin with http"),
        ({"name": "../up"}, "pattern"),
        ({"headers": {"x\ny": SECRET}}, "pattern"),
        ({"headers": {"x": {"env": "A", "file": "b"}}}, "either a file or an env"),
        ({"signals": ["profiles"]}, "traces"),
        ({"tls": {"cert_file": "/nowhere"}}, "together"),
        ({"tls": {"ca_file": "/nowhere"}}, "must be a file"),
        ({"retries": 3}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_named_without_the_secret(wrong, words):
    with pytest.raises(ValidationError, match=words) as refused:
        BackEnd(**{"name": "a", "endpoint": "http://a:1", **wrong})
    assert SECRET not in str(refused.value)
