"""A table over HTTP, and in front of a model."""

from contextlib import contextmanager
from dataclasses import asdict

import httpx
import numpy as np
import pytest

from deployments.embeddings.http import EmbeddingApp, Limits
from deployments.embeddings.table import Table
from deployments.errors import SettingsError
from deployments.launch.preflight import check
from telemetry.emitting.emitter import Emitter
from tests.deployments.embeddings.simulated import Cluster, SimulatedLoop, run

TABLE = Table(name="items", rows=3000, width=2)
ROUTE = "/v2/embeddings/items"


def asked(work):
    """Run `work(client, reader)`."""
    loop = SimulatedLoop()

    async def all_of_it():
        cluster = Cluster(TABLE)
        keeper = cluster.keeper()
        await keeper.open(2)
        reader = cluster.reader(keeper, loop)

        async def health():
            return asdict(keeper.health())

        emitter = Emitter(service="items", version="", role="embeddings", instance="a", endpoint=None, trace_ratio=0.0)
        app = EmbeddingApp(
            reader,
            health,
            limits=Limits(max_request_ids=100, max_body_bytes=10_000),
            tasks=list,
            emitter=emitter,
        )

        async def mounted(scope, receive, send):
            await app(scope | {"root_path": ROUTE}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url="http://test") as client:
            return await work(client, reader)

    return run(all_of_it(), loop)


def request(ids, rows=None):
    inputs = [{"name": "ids", "datatype": "INT64", "shape": [len(ids)], "data": ids}]
    if rows is not None:
        inputs.append({"name": "rows", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": rows})
    return {"inputs": inputs}


def test_rows_are_set_added_to_and_looked_up():
    async def work(client, _):
        assert (await client.post(f"{ROUTE}/set", json=request([1, 2], [[1, 2], [3, 4]]))).status_code == 200
        assert (await client.post(f"{ROUTE}/add", json=request([1], [[0.5, 0.5]]))).status_code == 200
        found = (await client.post(f"{ROUTE}/lookup", json=request([2, 1]))).json()
        assert found["outputs"] == [{"name": "rows", "datatype": "FP32", "shape": [2, 2], "data": [3, 4, 1.5, 2.5]}]
        told = (await client.get(ROUTE)).json()
        assert (told["rows"], told["whole"], told["replica"]["keys"]) == (3000, True, 2)
        assert (await client.get(f"{ROUTE}/ready")).json()["ready"] is True

    asked(work)


def test_ids_and_rows_may_be_bytes():
    async def work(client, _):
        await client.post(f"{ROUTE}/set", json=request([7], [[1, 2]]))
        headers = {"Inference-Header-Content-Length": "0"}
        answer = await client.post(f"{ROUTE}/lookup", content=np.array([7, 8]).tobytes(), headers=headers)
        raw = answer.content[int(answer.headers["inference-header-content-length"]) :]
        assert np.frombuffer(raw, np.float32).tolist() == [1, 2, 0, 0]

    asked(work)


@pytest.mark.parametrize(
    ("path", "body", "status", "rule"),
    [
        ("/lookup", request([3000]), 400, "must lie in [0, 3000), got 3000"),
        ("/set", request([1], [[1, 2, 3]]), 400, "shape must be [count, 2]"),
        ("/set", request([1, 2], [[1, 2]]), 400, "shape must be [count, 2]"),
        ("/add", request([1]), 400, "missing 'rows'"),
        ("/lookup", request([1] * 101), 400, "at most 100 ids, got 101"),
        ("/lookup", request([1] * 9000), 413, "at most 10000 bytes"),
        ("/forget", request([1]), 404, "has no '/forget'"),
    ],
)
def test_what_cannot_be_done_is_told(path, body, status, rule):
    async def work(client, _):
        answer = await client.post(f"{ROUTE}{path}", json=body)
        assert answer.status_code == status
        assert rule in answer.json()["error"]

    asked(work)


@contextmanager
def refused(rule):
    with pytest.raises(SettingsError, match=rule):
        yield


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"shards": 1}, "shards must be at least copies, 2"),
        ({"default_row": 10}, "default_row must be a row, at most 9"),
        ({"dtype": "int8"}, "dtype"),
        ({"initial": "/nowhere/rows.npy"}, "a file that can be read"),
        ({"table": "others"}, "route_prefix must be '/v2/embeddings/others'"),
    ],
)
def test_settings_that_cannot_be_served_are_refused_before_ray_starts(changes, rule):
    args = {"table": "items", "rows": 10, "width": 2} | changes
    application = {"name": "items", "route_prefix": ROUTE, "import_path": "deployments.app:embeddings", "args": args}
    with refused(rule):
        check({"http_options": {"host": "127.0.0.1"}, "applications": [application]}, ports=False)
