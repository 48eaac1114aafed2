"""The endpoints that speak for all models."""

import asyncio

import httpx
import pytest

from deployments.server import server_app
from telemetry.emit import Emitter
from tests.conftest import free_port


def call(method, path, models):
    async def main():
        endpoint = f"http://127.0.0.1:{free_port()}"
        emitter = Emitter(service="server", version="", role="server", instance="i", endpoint=endpoint)
        app = server_app(lambda: models, emitter)

        async def mounted(scope, receive, send):
            await app({**scope, "root_path": "/v2"}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://test") as client:
            return await client.request(method, path)

    return asyncio.run(main())


READY = {"a": True, "b": True}


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_metadata_names_the_extensions(path):
    answer = call("GET", path, READY).json()
    assert answer["name"] == "trimtab"
    assert "binary_tensor_data" in answer["extensions"]


@pytest.mark.parametrize(
    ("models", "status", "ready"), [(READY, 200, True), ({}, 200, True), ({"a": True, "b": False}, 503, False)]
)
def test_the_server_is_ready_when_every_model_is(models, status, ready):
    response = call("GET", "/v2/health/ready", models)
    assert (response.status_code, response.json()) == (status, {"ready": ready, "live": True})


def test_the_server_is_live_though_a_model_is_not():
    assert call("GET", "/v2/health/live", {"a": False}).json() == {"live": True}


def test_the_index_lists_every_model():
    answer = call("POST", "/v2/repository/index", {"a": True, "b": False}).json()
    assert answer == [{"name": "a", "state": "READY"}, {"name": "b", "state": "UNAVAILABLE"}]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v2/models/c/infer", 404, "model 'c' is not served, only a, b"),
        ("GET", "/v2/models/c", 404, "model 'c' is not served"),
        ("POST", "/v2/models/a/infer", 503, "model 'a' is not ready"),
        ("GET", "/v2/nowhere", 404, "Not Found"),
        ("POST", "/v2", 405, "Method Not Allowed"),
    ],
)
def test_what_is_not_there_is_said_in_the_protocols_words(method, path, status, said):
    response = call(method, path, READY)
    assert response.status_code == status
    assert said in response.json()["error"]
