"""The endpoints that speak for all models."""

import asyncio

import httpx
import pytest

from deployments.http import model
from deployments.http.meters import RequestMeter
from deployments.http.server import Cluster, server_app
from deployments.oip.statistics import Statistics
from deployments.replicas.status import VersionStatus
from optimization.artifact.store import ArtifactError
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port


def cluster(models, **changes):
    """Two versions of each model that is ready, the older one let go."""
    versions = [
        VersionStatus(version="1", state="UNAVAILABLE", reason="it is not loaded"),
        VersionStatus(version="2", state="READY"),
    ]
    told = {name: Statistics(name, "2").snapshot() for name in models}
    fields = {
        "index": lambda _: versions,
        "load": lambda _: None,
        "unload": lambda _: None,
        "statistics": lambda name: [told[name]],
        "is_whole": lambda name: name != "lacking",
    }

    def awaited(function):
        async def run(name):
            return function(name)

        return run

    behind, tables = changes.pop("behind", lambda _: None), changes.pop("tables", {})
    answers = {name: awaited(function) for name, function in (fields | changes).items()}
    return Cluster(models=lambda: models, behind=behind, tables=lambda: tables, **answers)


def call(method, path, models, changes=None, **options):
    async def main():
        endpoint = f"http://127.0.0.1:{free_port()}"
        emitter = Emitter(service="server", version="", role="server", instance="i", endpoint=endpoint)
        app = server_app(cluster(models, **(changes or {})), emitter, trace_ratio=0.01)

        async def mounted(scope, receive, send):
            await app({**scope, "root_path": "/v2"}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://test") as client:
            return await client.request(method, path, **options)

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


@pytest.mark.parametrize(
    ("tables", "status"), [({"items": True}, 200), ({"items": False}, 503), ({"items": True, "lacking": True}, 503)]
)
def test_the_server_is_ready_when_every_table_has_all_copies_of_its_rows(tables, status):
    assert call("GET", "/v2/health/ready", READY, {"tables": tables}).status_code == status


def test_the_server_is_not_ready_while_a_replica_cannot_answer_by_the_version_of_the_others():
    response = call("GET", "/v2/health/ready", READY, {"behind": {"a": None, "b": "no room for version '2'"}.get})
    assert response.status_code == 503
    assert response.json() == {"ready": False, "live": True, "error": "no room for version '2'"}


def test_a_probe_is_not_counted(monkeypatch):
    counted = []
    monkeypatch.setattr(RequestMeter, "request", lambda _, **request: counted.append(request["route"]))
    for path in ("/v2/health/ready", "/v2/health/live", "/v2/models"):
        call("GET", path, {"a": False})
    assert counted == ["/v2/models"]


def test_the_server_is_live_though_a_model_is_not():
    assert call("GET", "/v2/health/live", {"a": False}).json() == {"live": True}


def test_the_index_lists_every_version():
    answer = call("POST", "/v2/repository/index", {"a": True, "b": False}).json()
    assert [(entry["name"], entry["version"], entry["state"]) for entry in answer] == [
        ("a", "1", "UNAVAILABLE"),
        ("a", "2", "READY"),
        ("b", "", "UNAVAILABLE"),
    ]
    assert answer[0]["reason"] == "it is not loaded"
    assert "are starting, or have failed" in answer[2]["reason"]


def test_the_index_leaves_out_what_is_not_ready_where_asked():
    answer = call("POST", "/v2/repository/index", READY, json={"ready": True}).json()
    assert [(entry["name"], entry["version"]) for entry in answer] == [("a", "2"), ("b", "2")]


@pytest.mark.parametrize("action", ["load", "unload"])
def test_a_model_is_loaded_and_unloaded_by_name(action):
    done = []
    path = f"/v2/repository/models/b/{action}"
    response = call("POST", path, READY, {action: done.append}, json={"parameters": {}})
    assert (response.status_code, response.content, done) == (200, b"", ["b"])


def broken(_):
    raise ArtifactError("model 'b' cannot serve version 3: model.onnx is damaged")


@pytest.mark.parametrize(
    ("path", "options", "status", "said"),
    [
        ("models/c/load", {}, 404, "Request for unknown model: 'c' is not served, only a, b"),
        ("models/b/load", {}, 400, "model.onnx is damaged"),
        ("models/b/load", {"json": {"parameters": {"config": "{}"}}}, 400, "got the parameter 'config'"),
        ("models/b/unload", {"json": {"parameters": 3}}, 400, "parameters must be an object, got int"),
        ("models/b/load", {"content": b"{"}, 400, "must be a JSON object or empty: "),
        ("models/b/load", {"json": []}, 400, "got list"),
        ("index", {"json": {"ready": "yes"}}, 400, "ready must be true or false, got 'yes'"),
    ],
)
def test_a_wrong_order_is_refused_with_its_reason(path, options, status, said):
    response = call("POST", f"/v2/repository/{path}", READY, {"load": broken}, **options)
    assert response.status_code == status
    assert said in response.json()["error"]


def test_the_statistics_of_every_model_are_told():
    answer = call("GET", "/v2/models/stats", {"a": True, "b": False}).json()
    assert [(told["name"], told["version"]) for told in answer["model_stats"]] == [("a", "2")]


def test_traces_and_logs_are_told_and_stay_as_they_are():
    assert call("GET", "/v2/trace/setting", READY).json()["trace_rate"] == "100"
    same = call("POST", "/v2/trace/setting", READY, json={"trace_rate": "100", "trace_level": ["TIMESTAMPS"]})
    assert same.status_code == 200
    for path, change, said in (
        ("trace/setting", {"trace_rate": "1"}, "trace_rate stays '100' while the server runs, got '1': trace_ratio"),
        ("logging", {"log_verbose_level": 1}, "log_verbose_level stays 0 while the server runs, got 1: logging_config"),
        ("logging", {"colour": 1}, "a setting must be one of log_file"),
    ):
        response = call("POST", f"/v2/{path}", READY, json=change)
        assert response.status_code == 400
        assert said in response.json()["error"]


def test_the_document_names_every_path_of_the_server_and_of_a_model():
    paths = call("GET", "/v2/openapi.json", READY).json()["paths"]
    for action in model._METHODS:
        assert f"/v2/models/{{model}}{action}" in paths or action == "/trace/setting"
        own = ("/trace/setting", "/feedback")
        assert f"/v2/models/{{model}}/versions/{{version}}{action}" in paths or action in own
    for path in paths:
        if "{model}" not in path and path != "/v2/rollouts":  # tests/deployments/rollout/test_http.py asks that
            method = "POST" if "post" in paths[path] else "GET"
            assert call(method, path, READY).status_code == 200, path


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v2/models/c/infer", 404, "Request for unknown model: 'c' is not served, only a, b"),
        ("GET", "/v2/models/c", 404, "Request for unknown model: 'c' is not served"),
        ("POST", "/v2/models/a/infer", 503, "model 'a' is not ready"),
        ("GET", "/v2/nowhere", 404, "Not Found"),
        ("POST", "/v2", 405, "Method Not Allowed"),
    ],
)
def test_what_is_not_there_is_said_in_the_protocols_words(method, path, status, said):
    response = call(method, path, READY)
    assert response.status_code == status
    assert said in response.json()["error"]
