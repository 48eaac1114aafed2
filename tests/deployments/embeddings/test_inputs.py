"""Models whose inputs are rows of tables: asked by ids, over HTTP, with a real session of ONNX Runtime."""

import asyncio

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployments.embeddings.table import Table
from deployments.errors import SettingsError
from deployments.execution.load import load_predictor
from deployments.http.model import ModelApp
from deployments.launch.preflight import check
from deployments.settings import ModelSettings
from optimization.artifact.manifest import SplitInput, TensorSpec
from optimization.artifact.store import publish
from telemetry.emitting.emitter import Emitter
from tests.conftest import free_port

ROWS = TensorSpec(name="rows", datatype="FP32", shape=("batch", 3, 2))
BIAS = TensorSpec(name="bias", datatype="FP32", shape=("batch", 1))
SCORE = TensorSpec(name="score", datatype="FP32", shape=("batch", 1))
IDS = TensorSpec(name="items", datatype="INT64", shape=("batch", 3))
SPLIT = SplitInput(rows="rows", ids=IDS, num_rows=10)


class ArrayTable:
    """A table of ten rows, (id, 2 id)."""

    def __init__(self, width=2, rows=10, problem=None):
        self.table = Table(name="items", rows=rows, width=width)
        self.rows = (np.arange(rows)[:, None] * [1, 2]).astype(np.float32)
        self.said = problem

    def start(self):
        pass

    def problem(self):
        return self.said

    async def lookup(self, ids):
        return self.rows[ids]


@pytest.fixture
def artifact(tmp_path):
    return publish_sums(tmp_path)


def publish_sums(folder):
    """`score` is the sum of the rows and the bias."""
    nodes = [
        helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum", "last"], ["column"]),
        helper.make_node("Add", ["column", "bias"], ["score"]),
    ]
    weights = [helper.make_tensor("axes", 7, [2], [1, 2]), helper.make_tensor("last", 7, [1], [1])]
    infos = [helper.make_tensor_value_info(each.name, TensorProto.FLOAT, each.shape) for each in (ROWS, BIAS, SCORE)]
    graph = helper.make_graph(nodes, "sums", infos[:2], infos[2:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "m.onnx")
    return publish(
        folder / "artifacts",
        {"model.onnx": folder / "m.onnx"},
        name="sums",
        inputs=(ROWS, BIAS),
        outputs=(SCORE,),
        embeddings=(SPLIT,),
    )


def settings(**changes):
    return ModelSettings(artifact="sums", embeddings={"rows": {"table": "items"} | changes})


def asked(artifact, table, *requests, **options):
    """The responses of the model, served with `table`, to one request after the other."""

    async def main():
        emitter = Emitter(
            service="sums", version="1", role="replica", instance="i", endpoint=f"http://127.0.0.1:{free_port()}"
        )
        given = settings().model_copy(update=options)
        predictor = load_predictor(artifact, given, has_gpu=False, emitter=emitter, tables={"items": table})
        app = ModelApp(predictor, max_body_bytes=4096, emitter=emitter)
        app.start()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = [await client.request(method, path, json=body) for method, path, body in requests]
        await app.stop()
        return answers

    return asyncio.run(main())


def infer(ids, bias=(0.5,), **changes):
    inputs = [
        {"name": "items", "datatype": "INT64", "shape": [len(ids) // 3, 3], "data": ids},
        {"name": "bias", "datatype": "FP32", "shape": [len(bias), 1], "data": list(bias)},
    ]
    return ("POST", "/infer", {"inputs": [each | changes.get(each["name"], {}) for each in inputs]})


def test_a_model_is_asked_by_ids_and_its_metadata_show_them(artifact):
    told, one, two = asked(
        artifact, ArrayTable(), ("GET", "/", None), infer([1, 2, 2]), infer([0, 0, 1, 9, 9, 9], bias=(0, 1))
    )
    inputs = [(each["name"], each["datatype"]) for each in told.json()["inputs"]]
    assert inputs == [("items", "INT64"), ("bias", "FP32")]
    assert one.json()["outputs"][0]["data"] == [15.5]
    assert two.json()["outputs"][0]["data"] == [3, 82]


def test_requests_that_carry_rows_or_no_ids_are_refused(artifact):
    rows = {"name": "rows", "datatype": "FP32", "shape": [1, 3, 2], "data": [0] * 6}
    (answer,) = asked(artifact, ArrayTable(), infer([1, 2, 2], items=rows))
    assert answer.status_code == 400
    assert "items" in answer.json()["error"]


def test_answers_that_are_kept_hang_on_the_rows_and_not_on_the_ids(artifact):
    table = ArrayTable()

    async def changing(ids):
        rows = table.rows[ids]
        table.rows = table.rows + 1
        return rows

    table.lookup = changing
    answers = asked(artifact, table, infer([0, 0, 0]), infer([0, 0, 0]), cache_bytes=10**6)
    assert [each.json()["outputs"][0]["data"] for each in answers] == [[0.5], [6.5]]


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        (ArrayTable(problem="there is no table 'items'"), "there is no table 'items'"),
        (ArrayTable(width=4), "takes rows of width 2, table 'items' has width 4"),
        (ArrayTable(rows=9), "split from a table of 10 rows, table 'items' has 9"),
    ],
)
def test_a_table_that_is_not_there_or_does_not_fit_makes_the_model_unready(artifact, table, rule):
    for answer in asked(artifact, table, ("GET", "/ready", None), infer([1, 2, 2])):
        assert answer.status_code == 503
        assert rule in answer.json()["error"]


def test_rows_of_requests_under_way_take_no_more_than_they_may(artifact):
    one, two = asked(artifact, ArrayTable(), infer([1, 2, 2]), infer([1, 2, 2] * 20, bias=[0] * 20), max_queue_bytes=99)
    assert (one.status_code, two.status_code) == (200, 429)


@pytest.mark.parametrize(
    ("embeddings", "rule"),
    [
        ({"items": {"table": "items"}}, "embeddings must name inputs of 'sums', rows, bias; got 'items'"),
        ({"rows": {"table": "items", "ids": "rows"}}, "must name what requests carry in place of the rows"),
        ({"bias": {"table": "items"}}, "must name what requests carry in place of the rows, got None"),
        ({"rows": {"table": "items", "ids": "bias"}}, "must be INT64 or INT32"),
        (
            {"rows": {"table": "others"}},
            "must be one that an application of deployments.app:embeddings holds, items",
        ),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused_before_ray_starts(artifact, embeddings, rule):
    args = {"artifact": "sums", "artifacts": str(artifact.path.parents[1]), "embeddings": embeddings}
    with pytest.raises(SettingsError, match=rule):
        checked(args)


def test_a_table_that_does_not_fit_the_model_is_refused_before_ray_starts(artifact):
    args = {"artifact": "sums", "artifacts": str(artifact.path.parents[1]), "embeddings": {"rows": {"table": "items"}}}
    checked(args)
    with pytest.raises(SettingsError, match="takes rows of width 2, table 'items' has width 3"):
        checked(args, width=3)


def checked(args, width=2):
    table = {"table": "items", "rows": 10, "width": width}
    model = {"name": "sums", "route_prefix": "/v2/models/sums"}
    applications = [
        model | {"import_path": "deployments.app:model", "args": args},
        {"route_prefix": "/v2/embeddings/items", "import_path": "deployments.app:embeddings", "args": table},
    ]
    check({"http_options": {"host": "127.0.0.1"}, "applications": applications}, ports=False)
