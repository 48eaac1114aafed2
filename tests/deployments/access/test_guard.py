"""Access control around an application: who passes, who is told what, and what the audit log keeps."""

import asyncio
import base64
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.access import guard, keys
from deployments.access.audit import AuditLog
from deployments.access.gate import LOOK_EVERY_S, Gate, KeyRing, Need, TokenBucket
from deployments.access.guard import guarded, keys_file, of_model, of_page, of_server
from deployments.access.keys import Key
from deployments.errors import SettingsError

INFER = "/v2/models/digits/infer"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})


@pytest.fixture
def made(tmp_path):
    """A file of keys with `good`, and a way to add others."""

    class Made:
        path = tmp_path / "keys.yaml"
        clock = Clock()

        def key(self, id_, **changes):
            text = keys.new_key(id_)
            keys.add(self.path, Key(id=id_, sha256=keys.hash_of(text), **changes))
            return text

        def gate(self, audit=None):
            return Gate(KeyRing(self.path, self.clock), audit, self.clock)

    made = Made()
    made.good = made.key("good")
    return made


def call(gate, need, *requests, root_path=""):
    """Each of `requests` (method, path, headers) through the guard, in one event loop."""

    async def run():
        app = guarded(application, gate, need)
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.request(method, path, headers=headers) for method, path, headers in requests]

    return asyncio.run(run())


def infer(gate, *headers, need=None):
    return call(gate, need or of_model("digits"), *(("POST", INFER, each) for each in headers))


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_bearer_and_x_api_key_pass(made):
    answers = infer(made.gate(), bearer(made.good), {"x-api-key": made.good}, {"AUTHORIZATION": f"bearer {made.good}"})
    assert [(each.status_code, each.text) for each in answers] == [(200, "answered")] * 3


def test_without_a_valid_key_nothing_is_answered_and_the_client_is_told_how(made):
    (none, wrong) = infer(made.gate(), {}, bearer(keys.new_key("good")))
    assert (none.status_code, wrong.status_code) == (401, 401)
    assert "Authorization: Bearer <key> or X-API-Key" in none.json()["error"]
    assert wrong.json() == {"error": "the key is not valid"}
    assert none.headers["www-authenticate"] == 'Bearer realm="trimtab"'


@given(st.text(), st.integers(0, 200))
def test_a_near_miss_is_no_key(tmp_path_factory, text, at):
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    good = "trimtab.good." + "A" * 43
    keys.add(path, Key(id="good", sha256=keys.hash_of(good)))
    ring = KeyRing(path)
    for near in (text, good + text, good[: at % len(good)], good[: at % len(good)] + text):
        assert (ring.find(near) is not None) == (near == good)


def test_a_key_opens_only_its_models(made):
    narrow = made.key("narrow", models=("text-*",))
    (refused,) = infer(made.gate(), bearer(narrow))
    assert refused.status_code == 403
    assert refused.json()["error"] == "key 'narrow' opens the models text-*, not 'digits'"
    (passed,) = infer(made.gate(), bearer(narrow), need=of_model("text-small"))
    assert passed.status_code == 200


def test_an_expired_key_is_refused(made):
    old = made.key("old", expires=keys.now())
    (refused,) = infer(made.gate(), bearer(old))
    assert refused.status_code == 401
    assert "expired" in refused.json()["error"]


def test_a_rate_is_kept_per_key_and_says_when_to_come_back(made):
    slow, gate = made.key("slow", requests_per_s=0.5, burst=2), made.gate()
    answers = infer(gate, *[bearer(slow)] * 3, bearer(made.good))
    assert [each.status_code for each in answers] == [200, 200, 429, 200]
    assert answers[2].headers["retry-after"] == "2"
    made.clock.now += 2
    assert [each.status_code for each in infer(gate, bearer(slow), bearer(slow))] == [200, 429]


@given(st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 5), max_size=100))
def test_no_more_pass_than_burst_and_rate_allow(per_s, burst, pauses):
    bucket, now, passed = TokenBucket(per_s, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        passed += not bucket.take(now)
    assert passed <= burst + per_s * now + 1e-6


def test_a_revoked_key_is_refused_within_a_second_and_a_new_one_passes(made):
    gate = made.gate()
    assert infer(gate, bearer(made.good))[0].status_code == 200
    keys.revoke(made.path, "good")
    fresh = made.key("fresh")
    made.clock.now += LOOK_EVERY_S
    assert [each.status_code for each in infer(gate, bearer(made.good), bearer(fresh))] == [401, 200]


def test_a_broken_file_leaves_the_last_good_keys_in_force(made, caplog):
    gate = made.gate()
    made.path.write_text("keys: [")
    made.clock.now += LOOK_EVERY_S
    assert [each.status_code for each in infer(gate, bearer(made.good), {})] == [200, 401]
    assert "the last good keys stay in force" in caplog.text
    assert made.good not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "/v2/health/live", Need(key=False)),
        ("HEAD", "/v2/health/ready", Need(key=False)),
        ("POST", "/v2/health/ready", Need(admin=True)),
        ("GET", "/v2/health/ready/", Need()),
        ("GET", "/v2/health/live/../../models", Need()),
        ("GET", "/v2", Need()),
        ("GET", "/v2/models", Need()),
        ("GET", "/v2/models/stats", Need()),
        ("POST", "/v2/models/lost/infer", Need(model="lost")),
        ("POST", "/v2/repository/index", Need()),
        ("POST", "/v2/repository/models/digits/load", Need(admin=True)),
        ("POST", "/v2/repository/models/digits/unload", Need(admin=True)),
        ("POST", "/v2/logging", Need(admin=True)),
        ("DELETE", "/v2/anything", Need(admin=True)),
    ],
)
def test_the_server_asks_for_what_a_path_needs(method, path, need):
    assert of_server({"type": "http", "method": method, "path": path, "root_path": "/v2"}) == need


def test_the_page_takes_an_administrators_key_as_a_browsers_password(made):
    admin = made.key("admin", admin=True)

    def basic(text):
        return {"authorization": "Basic " + base64.b64encode(f"anyone:{text}".encode()).decode()}

    asked, shown, refused = infer(made.gate(), {}, basic(admin), basic(made.good), need=of_page)
    assert [each.status_code for each in (asked, shown, refused)] == [401, 200, 403]
    assert asked.headers["www-authenticate"] == 'Basic realm="trimtab"'
    assert infer(made.gate(), basic(admin))[0].status_code == 401  # a password is good for looking alone


def test_the_audit_log_names_the_key_and_never_shows_it(made, tmp_path):
    log = tmp_path / "audit" / "digits.jsonl"
    audit = AuditLog(log)

    async def run():
        app = guarded(application, made.gate(audit), of_model("digits"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await client.post(INFER, headers=bearer(made.good) | {"x-forwarded-for": "192.0.2.7"})
            await client.post(INFER + "%0A" + "x" * 9999, headers=bearer("trimtab.good.secret"))
        audit.write()

    asyncio.run(run())
    passed, refused = map(json.loads, log.read_text().splitlines())
    assert passed | {"time": ""} == {
        "time": "",
        "key": "good",
        "client": "127.0.0.1",
        "forwarded_for": "192.0.2.7",
        "method": "POST",
        "path": INFER,
        "status": 200,
    }
    assert (refused["key"], refused["status"], len(refused["path"])) == (None, 401, 256)
    assert made.good not in log.read_text()
    assert "secret" not in log.read_text()


def test_the_audit_log_rotates_and_keeps_so_many_files(tmp_path):
    log = tmp_path / "a.jsonl"
    audit = AuditLog(log, max_file_bytes=300, num_old_files=2)

    async def run():
        for number in range(10):
            entry = {"key": "k", "client": None, "forwarded_for": None, "method": "GET", "status": 200}
            audit.record(**entry, path=str(number))
            audit.record(**entry, path=str(number))
            audit.write()

    asyncio.run(run())
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    newest_last = [json.loads(line)["path"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert newest_last == sorted(newest_last)
    assert newest_last[-1] == "9"


def test_a_websocket_is_refused(made):
    sent = []

    async def run():
        async def send(message):
            sent.append(message)

        await guarded(application, made.gate(), of_model("digits"))({"type": "websocket"}, None, send)

    asyncio.run(run())
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_is_open_unless_keys_are_named(host, monkeypatch, tmp_path):
    monkeypatch.delenv(guard.ACCESS, raising=False)
    assert keys_file(None, host) is None
    assert keys_file(str(tmp_path), host) == tmp_path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "", None])
def test_the_network_needs_keys_or_the_word_open(host, monkeypatch):
    monkeypatch.delenv(guard.ACCESS, raising=False)
    with pytest.raises(SettingsError, match=r"TRIMTAB_ACCESS=keys\.yaml"):
        keys_file(None, host)
    assert keys_file("open", host) is None
    monkeypatch.setenv(guard.ACCESS, "open")
    assert keys_file(None, host) is None
