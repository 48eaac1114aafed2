"""A table as a user serves it: `serve run`, HTTP, real processes that are killed."""

import time

import httpx
import pytest

from benchmarks.servers import processes, table
from tests.deployments.embeddings.test_inputs import infer, publish_sums

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

ROUTE = "/v2/embeddings/items"


def request(ids, rows=None):
    inputs = [{"name": "ids", "datatype": "INT64", "shape": [len(ids)], "data": ids}]
    if rows is not None:
        inputs.append({"name": "rows", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": rows})
    return {"inputs": inputs}


def test_no_acknowledged_change_is_lost_though_shards_are_killed_one_after_the_other(tmp_path):
    args = {"table": "items", "rows": 5000, "width": 2, "shards": 2, "snapshots": str(tmp_path), "timeout_s": 30}
    with table(args | {"snapshot_every_s": 2.0}) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        acknowledged = 0
        for _ in range(3):
            for _ in range(5):
                assert client.post(f"{ROUTE}/add", json=request([7, 4999], [[1, 2], [1, 2]])).status_code == 200
                acknowledged += 1
            shard = next(process for process, command in processes(server) if command.startswith("ray::ShardActor"))
            shard.kill()
            assert client.post(f"{ROUTE}/add", json=request([7, 4999], [[1, 2], [1, 2]])).status_code == 200
            acknowledged += 1
            found = client.post(f"{ROUTE}/lookup", json=request([4999, 7, 0])).json()["outputs"][0]
            assert found["data"] == [acknowledged, 2 * acknowledged] * 2 + [0, 0]
            deadline = time.monotonic() + 30
            while client.get(f"{ROUTE}/ready").status_code != 200:
                assert time.monotonic() < deadline, client.get(ROUTE).text
                time.sleep(0.1)
        health = client.get(ROUTE).json()
        assert health["lost_buckets"] == 0
        assert client.post(f"{ROUTE}/lookup", json=request([5000])).status_code == 400
        deadline = time.monotonic() + 30
        while client.get(ROUTE).json()["last_snapshot"] is None:
            assert time.monotonic() < deadline, client.get(ROUTE).text
            time.sleep(0.2)


def test_a_model_is_asked_by_ids_of_a_table_and_answers_by_rows_that_changed_and_though_a_shard_dies(tmp_path):
    args = {"table": "items", "rows": 10, "width": 2, "shards": 2, "timeout_s": 30}
    model = publish_sums(tmp_path)
    with (
        table(args, model, {"rows": {"table": "items"}}) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        assert [each["name"] for each in client.get("/v2/models/sums").json()["inputs"]] == ["items", "bias"]
        for number in (1, 2):
            assert client.post(f"{ROUTE}/set", json=request([3], [[number, number]])).status_code == 200
            answer = client.post("/v2/models/sums/infer", json=infer([3, 3, 0])[2])
            assert answer.json()["outputs"][0]["data"] == [4 * number + 0.5]
            next(process for process, command in processes(server) if command.startswith("ray::ShardActor")).kill()
        assert client.post("/v2/models/sums/infer", json=infer([3, 3, 10])[2]).status_code == 400
