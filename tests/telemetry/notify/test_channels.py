"""Each channel against the real thing, or a server that keeps what it gets."""

import asyncio
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from pydantic import TypeAdapter, ValidationError

from benchmarks.servers import free_port
from telemetry.notify.channels import AnyChannel
from telemetry.notify.errors import NotNowError, RefusedForGoodError
from telemetry.notify.notification import Notification
from telemetry.notify.notifier import Notifier, NotifyConfig
from telemetry.storage.documents import DocumentsInMemory

OPEN = Notification(
    incident="7",
    state="open",
    severity="page",
    service="reviews",
    title="reviews: p95 latency 212 ms, expected 2-3 ms <!channel>",
    cause="version 4 began at 12:03",
    started_s=1_750_000_000.0,
    link="http://page/telemetry#incident/7",
)


def channel(**settings):
    return TypeAdapter(AnyChannel).validate_python({"name": "x", **settings})


def send(each, notification=OPEN):
    asyncio.run(each.send(notification))


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, dict(self.headers), json.loads(body)))
        status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        self.send_response(status)
        for name, value in {"content-length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.got, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_the_incident_and_a_key_to_know_a_repeat_by(endpoint, monkeypatch):
    monkeypatch.setenv("HOOK_KEY", "secret")
    hook = channel(kind="webhook", url=f"{endpoint.url}/hook", headers_env={"authorization": "HOOK_KEY"})
    send(hook)
    ((path, headers, body),) = endpoint.got
    assert (path, headers["idempotency-key"], headers["authorization"]) == ("/hook", "7/open", "secret")
    assert (body["incident"], body["state"], body["cause"]) == ("7", "open", "version 4 began at 12:03")
    assert "secret" not in repr(hook) and endpoint.url not in repr(hook)


def test_a_chat_shows_text_without_links_and_mentions_of_the_senders_making(endpoint):
    send(channel(kind="slack", url=endpoint.url))
    text = endpoint.got[0][2]["text"]
    assert text.startswith("*Open: reviews: p95 latency 212 ms") and "<!channel>" not in text
    assert "Probable cause: version 4 began at 12:03" in text


def test_an_otlp_log_record_carries_the_incident(endpoint):
    send(channel(kind="otlp_logs", url=endpoint.url))
    path, _, body = endpoint.got[0]
    (record,) = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (path, record["severityText"]) == ("/v1/logs", "ERROR")
    assert {"key": "trimtab.incident.incident", "value": {"stringValue": "7"}} in record["attributes"]


@pytest.mark.parametrize(
    ("status", "headers", "error", "retry_after_s"),
    [
        (503, {}, NotNowError, None),
        (429, {"retry-after": "17"}, NotNowError, 17.0),
        (404, {}, RefusedForGoodError, None),
        (302, {"location": "http://169.254.169.254/"}, RefusedForGoodError, None),
    ],
)
def test_only_what_may_succeed_later_is_tried_again_and_no_redirect_followed(
    endpoint, status, headers, error, retry_after_s
):
    endpoint.answers.append((status, headers))
    with pytest.raises(error) as raised:
        send(channel(kind="webhook", url=endpoint.url))
    assert getattr(raised.value, "retry_after_s", None) == retry_after_s
    assert len(endpoint.got) == 1


def test_an_end_that_is_down_is_tried_again_later():
    with pytest.raises(NotNowError, match="no answer"):
        send(channel(kind="webhook", url=f"http://127.0.0.1:{free_port()}"))


class Letters(Message):
    def __init__(self):
        super().__init__()
        self.got = []

    def handle_message(self, message):
        self.got.append(message)


def test_an_e_mail_says_it_in_its_subject():
    letters = Letters()
    server = Controller(letters, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        send(channel(kind="email", host="127.0.0.1", port=server.port, sender="a@x.org", to=["b@x.org"], tls="none"))
    finally:
        server.stop()
    (letter,) = letters.got
    assert letter["Subject"].startswith("Open: reviews: p95 latency") and letter["To"] == "b@x.org"
    assert "version 4 began" in letter.get_payload()


@pytest.mark.skipif(not shutil.which("prometheus-alertmanager"), reason="Alertmanager is not installed")
def test_alertmanager_shows_one_alert_that_ends_when_the_incident_does(tmp_path):
    (tmp_path / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    port = free_port()
    command = ["prometheus-alertmanager", f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            manager = channel(kind="alertmanager", url=f"http://127.0.0.1:{port}")
            _until_taken(manager)
            send(manager)
            url = f"http://127.0.0.1:{port}/api/v2/alerts"
            (alert,) = json.load(urllib.request.urlopen(url))
            assert (alert["labels"]["service"], alert["status"]["state"]) == ("reviews", "active")
            ended = Notification(**{**OPEN.document(), "state": "ended", "ended_s": time.time() - 1})
            send(manager, ended)
            assert json.load(urllib.request.urlopen(url)) == []
        finally:
            process.terminate()


def _until_taken(manager):
    for _ in range(300):
        try:
            return send(manager)
        except NotNowError:
            time.sleep(0.1)
    raise AssertionError("Alertmanager did not begin to answer")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"kind": "webhook"}, "url or url_env must be set"),
        ({"kind": "webhook", "url": "ftp://x"}, "http"),
        ({"kind": "webhook", "url_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE must be set"),
        ({"kind": "pigeon"}, "pigeon"),
        ({"kind": "email", "host": "h", "sender": "a", "to": []}, "to"),
    ],
)
def test_a_channel_that_cannot_work_is_refused_at_the_start(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        channel(**settings)


def test_two_channels_of_one_name_are_refused():
    hook = {"kind": "webhook", "name": "a", "url": "http://x"}
    with pytest.raises(ValidationError, match="got a more than once"):
        NotifyConfig(channels=[hook, hook])


def test_a_channel_that_never_answers_holds_up_no_other(endpoint):
    class Hanging:
        name, again_s = "hanging", None

        async def send(self, notification):
            await asyncio.Event().wait()

    async def told():
        notifier = Notifier([Hanging(), channel(kind="webhook", url=endpoint.url)], DocumentsInMemory())
        notifier.start()
        notifier.tell(OPEN)
        while notifier.outbox.num_waiting > 1:
            await asyncio.sleep(0.01)
        await notifier.stop()

    asyncio.run(asyncio.wait_for(told(), 30))
    assert [body["incident"] for _, _, body in endpoint.got] == ["7"]
