"""Lines of JSON: one a record, with the trace of the request under way, and never with a secret."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from deployments.access.keys import new_key
from telemetry.emitting.json_lines import LOGS, JsonLines
from telemetry.emitting.secrets import HIDDEN, without_secrets
from telemetry.emitting.trace import current
from tests.telemetry.emitting.sink import emitter_to, listening

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def said():
    """A logger, and what it has written so far, line by line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("digits", "x1"))
    logger = logging.getLogger("tests.json_lines")
    logger.addHandler(handler)
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_a_line_bears_the_trace_of_the_request_under_way_and_none_outside(said):
    logger, lines = said
    with listening() as sink:
        emitter = emitter_to(sink.endpoint)
        trace = emitter.begin(SAMPLED)
        entered = current.set(trace)
        logger.warning("row %d is bad\nand the next", 7)
        current.reset(entered)
        logger.error("alone")
        emitter.shutdown()
    inside, alone = lines()
    assert inside["trace_id"] == SAMPLED[3:35]
    assert inside["span_id"] == f"{trace.span_id:016x}"
    assert (inside["message"], inside["severity"]) == ("row 7 is bad\nand the next", "WARNING")
    assert (inside["service"], inside["instance"], inside["logger"]) == ("digits", "x1", "tests.json_lines")
    assert "trace_id" not in alone


def test_an_exception_is_in_its_line(said):
    logger, lines = said
    try:
        raise ValueError("password=swordfish99")
    except ValueError:
        logger.exception("it failed")
    (line,) = lines()
    assert line["exception"].endswith(f"ValueError: password={HIDDEN}")
    assert "swordfish99" not in json.dumps(line)


def test_no_fresh_key_is_in_a_line(said):
    logger, lines = said
    key = new_key("ci")
    logger.warning("key %s is refused", key)
    (line,) = lines()
    assert line["message"].endswith(f"{HIDDEN} is refused")
    assert key.rpartition(".")[2] not in line["message"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://ann:letmein1@models.example.com/x", "letmein1"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("{'authorization': 'Basic YW5uOmxldG1laW4='}", "YW5uOmxldG1laW4="),
        ("X-API-Key: 0123456789abcdef", "0123456789abcdef"),
        ('{"password": "correct horse"}', "correct"),
        ("https://bucket/a?X-Amz-Signature=0123456789abcdef&part=1", "0123456789abcdef"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----", "MIIEvQIBADANBg"),
    ],
)
def test_no_secret_is_in_a_line(said, text, secret):
    logger, lines = said
    logger.warning("%s", text)
    (line,) = lines()
    assert secret not in line["message"]
    assert HIDDEN in line["message"]


@pytest.mark.parametrize(
    "text",
    [
        "12 tokens of 128; the tokenizer took 0.3 ms",
        "model 'digits': version 3 answers; 0 of 2 replicas failed",
        "http://localhost:4317/v1/traces took 0.2 s",
        "key 'ci' is revoked",
    ],
)
def test_what_is_no_secret_is_said(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize(("asked", "is_json"), [("json", True), ("", False)])
def test_lines_are_written_where_the_environment_asks_for_them(asked, is_json):
    script = """
import logging
import os
from telemetry.emitting import json_lines
json_lines.begin("digits")
logging.getLogger("deployments.here").warning("on")
"""
    environment = {LOGS: asked} if asked else {}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**{name: value for name, value in os.environ.items() if name != LOGS}, **environment},
    )
    if is_json:
        assert json.loads(done.stderr)["message"] == "on"
    else:
        assert done.stderr == "on\n"
